//! The program's commands.

mod command_line;
mod find;
mod json;
mod terminal;
