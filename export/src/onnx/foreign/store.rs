//! Stores the matrices and tables of a graph in fewer bits, as this crate stores its own.

use std::collections::HashMap;

use super::{Foreign, attribute, dims_of, floats_of, integer};
use crate::onnx::Storage;
use crate::onnx::graph::transposed;
use crate::onnx::proto::{FLOAT, FLOAT16, INT8};
use crate::quantize::{f16_bytes, quantize_rows};

/// Smaller constants gain nothing.
const LEAST: usize = 1 << 10;

impl Foreign {
    /// Stores what products multiply with and tables that rows are gathered from.
    pub(crate) fn stored(mut self, storage: Storage) -> Self {
        if storage == Storage::F32 {
            return self;
        }
        let mut uses: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (at, node) in self.graph.node.iter().enumerate() {
            for (slot, input) in node.input.iter().enumerate() {
                uses.entry(input.clone()).or_default().push((at, slot));
            }
        }
        for tensor in std::mem::take(&mut self.graph.initializer) {
            let users = uses.get(&tensor.name).map_or(&[][..], Vec::as_slice);
            let all = |op: &str, place: usize| {
                !users.is_empty() && users.iter().all(|(at, slot)| self.graph.node[*at].op_type == op && *slot == place)
            };
            let along_rows = || users.iter().all(|(at, _)| attribute(&self.graph.node[*at], "axis").is_none_or(|axis| axis.i == 0));
            let dims = dims_of(&tensor);
            let large = dims.len() == 2 && dims.iter().product::<usize>() >= LEAST;
            match floats_of(&tensor).filter(|_| large) {
                Some(values) if all("MatMul", 1) => self.store_matrix(&tensor.name, [dims[0], dims[1]], &values, users, storage),
                Some(values) if all("Gather", 0) && along_rows() => {
                    self.store_table(&tensor.name, [dims[0], dims[1]], &values, users, storage)
                }
                _ => self.graph.initializer.push(tensor),
            }
        }
        self.tidy();
        self
    }

    fn store_matrix(&mut self, name: &str, [inputs, outputs]: [usize; 2], values: &[f32], users: &[(usize, usize)], storage: Storage) {
        if storage == Storage::F16 {
            let halves = self.constant(&[inputs, outputs], FLOAT16, f16_bytes(values));
            self.op_to("Cast", &[&halves], vec![integer("to", FLOAT.into())], name);
            return;
        }
        let quantized = quantize_rows(&transposed(values, inputs), outputs);
        let integers = transposed(&quantized.values, outputs).iter().map(|q| *q as u8).collect();
        let integers = self.constant(&[inputs, outputs], INT8, integers);
        let scales = self.floats(&[outputs], &quantized.scales);
        if storage == Storage::Int8 {
            self.op_to("DequantizeLinear", &[&integers, &scales], vec![integer("axis", 1)], name);
            return;
        }
        for (at, _) in users {
            let (x, output) = (self.graph.node[*at].input[0].clone(), self.graph.node[*at].output[0].clone());
            let rows = ["", ".scale", ".zero"].map(|part| format!("{x}.quantized{part}"));
            if !self.graph.node.iter().any(|node| node.output.first() == Some(&rows[0])) {
                self.op_to("DynamicQuantizeLinear", &[&x], vec![], &rows[0]);
                let node = self.graph.node.last_mut().expect("it was just added");
                node.output = rows.to_vec();
            }
            let sums = self.op("MatMulInteger", &[&rows[0], &integers, &rows[2]], vec![]);
            let sums = self.cast(&sums, FLOAT);
            let scales = self.op("Mul", &[&rows[1], &scales], vec![]);
            self.graph.node[*at].output = vec![format!("{output}.before")];
            self.op_to("Mul", &[&sums, &scales], vec![], &output);
        }
    }

    fn store_table(&mut self, name: &str, dims: [usize; 2], values: &[f32], users: &[(usize, usize)], storage: Storage) {
        let (table, scales) = if storage == Storage::F16 {
            (self.constant(&dims, FLOAT16, f16_bytes(values)), None)
        } else {
            let quantized = quantize_rows(values, dims[0]);
            let table = self.constant(&dims, INT8, quantized.values.iter().map(|q| *q as u8).collect());
            (table, Some(self.floats(&[dims[0], 1], &quantized.scales)))
        };
        for (at, _) in users {
            let (ids, output) = (self.graph.node[*at].input[1].clone(), self.graph.node[*at].output[0].clone());
            self.graph.node[*at].output = vec![format!("{output}.before {name}")];
            let axis = || vec![integer("axis", 0)];
            let picked = self.op("Gather", &[&table, &ids], axis());
            match &scales {
                None => {
                    self.op_to("Cast", &[&picked], vec![integer("to", FLOAT.into())], &output);
                }
                Some(scales) => {
                    let picked = self.cast(&picked, FLOAT);
                    let scale = self.op("Gather", &[scales, &ids], axis());
                    self.op_to("Mul", &[&picked, &scale], vec![], &output);
                }
            }
        }
    }
}
