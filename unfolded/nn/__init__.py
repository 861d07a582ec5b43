"""Parts that networks are built of: bands, masks, learned windows, exportable recurrences."""
