//! Short programs on the `edge_seg` library: see the files beside this one, each with its command on top.
