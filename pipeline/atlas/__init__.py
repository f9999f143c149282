"""The published atlas: sheets, manifest and web pages."""
