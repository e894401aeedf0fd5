"""Where a module is compiled and run: boards described, plugins found, a target's name resolved."""
