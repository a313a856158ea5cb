//! The program's commands.

mod command_line;
mod terminal;
