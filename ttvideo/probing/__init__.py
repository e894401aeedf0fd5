"""How far does a module get on a target? A process, a trace, a verdict."""
