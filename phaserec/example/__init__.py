"""The example that ships with the package: synthetic speech in generated noise."""
