//! The exporter: import, parity, commands, evaluation.

mod eval_presets;
mod eval_tasks;
mod export_checkpoints;
mod export_commands;
mod export_families;
mod export_folder;
mod export_heads;
mod export_import;
mod export_parity;
mod fuzzed;
mod label_files;
mod metric_goldens;
mod onnx_pairs;
