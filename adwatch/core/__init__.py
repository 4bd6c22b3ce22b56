"""The pure core: values in, values out; no clock, file, socket or log."""
