//! The admin plane: its own thread and runtime.
