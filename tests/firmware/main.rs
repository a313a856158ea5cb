//! The firmware tools: boards, keys, slots, deployment, diagnosis.

mod boards;
mod disk;
mod fw_board;
mod fw_compare;
mod fw_deploy;
mod fw_doctor;
mod fw_fleet;
mod fw_install;
mod fw_keys;
mod fw_pull;
mod fw_slots;
mod small;
#[path = "../bundle/tiny.rs"]
mod tiny;
