//! Builds an ONNX graph node by node, from weights in a chosen storage.

use std::collections::BTreeSet;

use super::proto::{
    self, AttributeProto, Dim, DimProto, GraphProto, NodeProto, ShapeProto, TensorProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::checkpoint::Model;
use crate::config::Activation;
use crate::quantize::{Storage, f16_bytes, quantize_rows};
use crate::weights::Tensor;

/// A storage for a model's matrices, and the ones that it is not for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// How matrices are stored and computed.
    pub storage: Storage,
    /// Weights, by their names in the graph ([`super::products`]), that are stored in halves and computed in f32 instead.
    pub floats: BTreeSet<String>,
}

impl From<Storage> for Layers {
    fn from(storage: Storage) -> Self {
        Self { storage, floats: BTreeSet::new() }
    }
}

/// The name of a value in the graph.
pub(super) type Value = String;

pub(super) enum Attr {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
}

pub(super) struct Graph<'a> {
    model: &'a Model,
    layers: &'a Layers,
    products: Vec<String>,
    proto: GraphProto,
}

impl<'a> Graph<'a> {
    pub(super) fn new(name: &str, model: &'a Model, layers: &'a Layers) -> Self {
        Self { model, layers, products: Vec::new(), proto: GraphProto { name: name.into(), ..Default::default() } }
    }

    /// A weight of the model by its canonical name. [`Model::assemble`] has made sure that it is there.
    pub(super) fn tensor(&self, name: &str) -> &'a Tensor {
        &self.model.weights[name]
    }

    pub(super) fn input(&mut self, name: &str, elem_type: i32, dims: &[Dim]) -> Value {
        self.proto.input.push(value_info(name, elem_type, dims));
        name.into()
    }

    pub(super) fn output(&mut self, name: &str, value: &Value, dims: &[Dim]) {
        self.proto.output.push(value_info(name, proto::FLOAT, dims));
        self.push(NodeProto {
            op_type: "Identity".into(),
            input: vec![value.clone()],
            output: vec![name.into()],
            name: name.into(),
            ..Default::default()
        });
    }

    /// The file, and the weights of its products in their order.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<String>) {
        (proto::encode(self.proto), self.products)
    }

    /// How a matrix is stored.
    fn storage(&self, name: &str) -> Storage {
        if self.layers.floats.contains(name) { Storage::F16 } else { self.layers.storage }
    }

    fn push(&mut self, node: NodeProto) {
        self.proto.node.push(node);
    }

    /// Adds a node whose one output bears the node's name.
    pub(super) fn op(&mut self, name: &str, op_type: &str, inputs: &[&Value], attrs: Vec<(&str, Attr)>) -> Value {
        self.node(name, op_type, inputs, vec![name.into()], attrs);
        name.into()
    }

    fn node(&mut self, name: &str, op_type: &str, inputs: &[&Value], output: Vec<Value>, attrs: Vec<(&str, Attr)>) {
        let attribute = attrs
            .into_iter()
            .map(|(name, attr)| {
                let attribute = AttributeProto { name: name.into(), ..Default::default() };
                match attr {
                    Attr::Float(f) => AttributeProto { f, kind: 1, ..attribute },
                    Attr::Int(i) => AttributeProto { i, kind: 2, ..attribute },
                    Attr::Ints(ints) => AttributeProto { ints, kind: 7, ..attribute },
                }
            })
            .collect();
        let input = inputs.iter().map(|v| v.to_string()).collect();
        self.push(NodeProto { op_type: op_type.into(), input, output, name: name.into(), attribute, ..Default::default() });
    }

    fn constant(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> Value {
        if !self.proto.initializer.iter().any(|t| t.name == name) {
            let dims = shape.iter().map(|&d| d as i64).collect();
            self.proto.initializer.push(TensorProto { dims, data_type, name: name.into(), raw_data, ..Default::default() });
        }
        name.into()
    }

    pub(super) fn floats(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Value {
        self.constant(name, proto::FLOAT, shape, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    pub(super) fn scalar(&mut self, x: f32) -> Value {
        self.floats(&format!("f32.{x}"), &[], &[x])
    }

    pub(super) fn ints(&mut self, data: &[i64]) -> Value {
        let name = format!("i64.{}", data.iter().map(i64::to_string).collect::<Vec<_>>().join("."));
        self.constant(&name, proto::INT64, &[data.len()], data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// A vector of the model, in f32.
    pub(super) fn vector(&mut self, name: &str) -> Value {
        let tensor = self.tensor(name);
        self.floats(name, &tensor.shape, &tensor.data)
    }

    /// A matrix or kernel `[out, ...]` in the chosen storage, expanded to f32; with `transpose` a matrix comes out as `[in, out]`.
    fn matrix(&mut self, name: &str, tensor: &Tensor, transpose: bool) -> Value {
        let (rows, row_len) = (tensor.shape[0], tensor.data.len() / tensor.shape[0]);
        let shape = if transpose { vec![row_len, rows] } else { tensor.shape.clone() };
        if self.has_node(name) {
            return name.into();
        }
        match self.storage(name) {
            Storage::F32 => {
                let data = if transpose { transposed(&tensor.data, rows) } else { tensor.data.clone() };
                self.floats(name, &shape, &data)
            }
            Storage::F16 => {
                let data = if transpose { transposed(&tensor.data, rows) } else { tensor.data.clone() };
                let stored = self.constant(&format!("{name}.f16"), proto::FLOAT16, &shape, f16_bytes(&data));
                self.op(name, "Cast", &[&stored], vec![("to", Attr::Int(proto::FLOAT.into()))])
            }
            Storage::Int8 | Storage::Int8Dynamic => {
                let (stored, scales) = self.integers(name, tensor, transpose);
                let axis = if transpose { 1 } else { 0 };
                self.op(name, "DequantizeLinear", &[&stored, &scales], vec![("axis", Attr::Int(axis))])
            }
        }
    }

    /// A matrix or kernel `[out, ...]` as integers, and its scales `[out]`; with `transpose` a matrix comes out as `[in, out]`.
    fn integers(&mut self, name: &str, tensor: &Tensor, transpose: bool) -> (Value, Value) {
        let (rows, row_len) = (tensor.shape[0], tensor.data.len() / tensor.shape[0]);
        let shape = if transpose { vec![row_len, rows] } else { tensor.shape.clone() };
        let quantized = quantize_rows(&tensor.data, rows);
        let data = if transpose { transposed(&quantized.values, rows) } else { quantized.values };
        let stored = self.constant(&format!("{name}.int8"), proto::INT8, &shape, data.iter().map(|&q| q as u8).collect());
        (stored, self.floats(&format!("{name}.scale"), &[rows], &quantized.scales))
    }

    /// `x · weightᵀ`, with a weight `[out, in]` called `weights`.
    fn product(&mut self, name: &str, x: &Value, weights: &str, weight: &Tensor) -> Value {
        self.products.push(weights.into());
        if self.storage(weights) != Storage::Int8Dynamic {
            let weight = self.matrix(weights, weight, true);
            return self.op(name, "MatMul", &[x, &weight], vec![]);
        }
        let (weight, scales) = self.integers(weights, weight, true);
        let rows = ["", ".scale", ".zero"].map(|part| format!("{x}.quantized{part}"));
        if !self.proto.node.iter().any(|node| node.name == rows[0]) {
            self.node(&rows[0], "DynamicQuantizeLinear", &[x], rows.to_vec(), vec![]);
        }
        let sums = self.op(&format!("{name}.sums"), "MatMulInteger", &[&rows[0], &weight, &rows[2]], vec![]);
        let sums = self.op(&format!("{name}.sums.f32"), "Cast", &[&sums], vec![("to", Attr::Int(proto::FLOAT.into()))]);
        let scales = self.op(&format!("{name}.scales"), "Mul", &[&rows[1], &scales], vec![]);
        self.op(name, "Mul", &[&sums, &scales], vec![])
    }

    /// Rows of a table, picked by `ids`. Only the rows that are picked are expanded to f32, so the table stays small in memory.
    pub(super) fn rows(&mut self, name: &str, ids: &Value) -> Value {
        let tensor = self.tensor(name);
        let rows = tensor.shape[0];
        let axis = || vec![("axis", Attr::Int(0))];
        let to_float = || vec![("to", Attr::Int(proto::FLOAT.into()))];
        match self.storage(name) {
            Storage::F32 => {
                let table = self.vector(name);
                self.op(&format!("{name}.rows"), "Gather", &[&table, ids], axis())
            }
            Storage::F16 => {
                let table = self.constant(&format!("{name}.f16"), proto::FLOAT16, &tensor.shape, f16_bytes(&tensor.data));
                let picked = self.op(&format!("{name}.picked"), "Gather", &[&table, ids], axis());
                self.op(&format!("{name}.rows"), "Cast", &[&picked], to_float())
            }
            Storage::Int8 | Storage::Int8Dynamic => {
                let quantized = quantize_rows(&tensor.data, rows);
                let table =
                    self.constant(&format!("{name}.int8"), proto::INT8, &tensor.shape, quantized.values.iter().map(|&q| q as u8).collect());
                let scales = self.floats(&format!("{name}.scale"), &[rows, 1], &quantized.scales);
                let picked = self.op(&format!("{name}.picked"), "Gather", &[&table, ids], axis());
                let picked = self.op(&format!("{name}.picked_f32"), "Cast", &[&picked], to_float());
                let scale = self.op(&format!("{name}.picked_scale"), "Gather", &[&scales, ids], axis());
                self.op(&format!("{name}.rows"), "Mul", &[&picked, &scale], vec![])
            }
        }
    }

    pub(super) fn add(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.op(name, "Add", &[a, b], vec![])
    }

    pub(super) fn reshape(&mut self, name: &str, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.op(name, "Reshape", &[x, &shape], vec![])
    }

    pub(super) fn transpose(&mut self, name: &str, x: &Value, perm: &[i64]) -> Value {
        self.op(name, "Transpose", &[x], vec![("perm", Attr::Ints(perm.to_vec()))])
    }

    /// `x[from..to]` along `axis`.
    pub(super) fn slice(&mut self, name: &str, x: &Value, axis: i64, from: i64, to: i64) -> Value {
        let (from, to, axis) = (self.ints(&[from]), self.ints(&[to]), self.ints(&[axis]));
        self.op(name, "Slice", &[x, &from, &to, &axis], vec![])
    }

    /// A reshape to sizes that are known when the encoder runs, each i64 `[1]`.
    pub(super) fn reshape_to(&mut self, name: &str, x: &Value, sizes: &[&Value]) -> Value {
        let shape = self.op(&format!("{name}.shape"), "Concat", sizes, vec![("axis", Attr::Int(0))]);
        self.op(name, "Reshape", &[x, &shape], vec![])
    }

    pub(super) fn has_node(&self, name: &str) -> bool {
        self.proto.node.iter().any(|node| node.name == name)
    }

    /// LayerNorm over the last axis with the weights `NAME.weight` and `NAME.bias`. Every `_as` names the node apart from its weights. What
    /// is in the graph under its name already is not computed again: a name belongs to one input.
    pub(super) fn norm(&mut self, name: &str, x: &Value, eps: f32) -> Value {
        self.norm_as(name, name, x, eps)
    }

    pub(super) fn norm_as(&mut self, weights: &str, name: &str, x: &Value, eps: f32) -> Value {
        if self.has_node(name) {
            return name.into();
        }
        let (weight, bias) = (self.vector(&format!("{weights}.weight")), self.vector(&format!("{weights}.bias")));
        self.op(name, "LayerNormalization", &[x, &weight, &bias], vec![("axis", Attr::Int(-1)), ("epsilon", Attr::Float(eps))])
    }

    /// `x · weightᵀ`, with a weight `[out, in]`.
    pub(super) fn project(&mut self, name: &str, x: &Value) -> Value {
        self.project_as(name, name, x)
    }

    pub(super) fn project_as(&mut self, weights: &str, name: &str, x: &Value) -> Value {
        let weights = format!("{weights}.weight");
        self.product(name, x, &weights, self.tensor(&weights))
    }

    /// `x · weightᵀ + bias`.
    pub(super) fn linear(&mut self, name: &str, x: &Value) -> Value {
        self.linear_as(name, name, x)
    }

    pub(super) fn linear_as(&mut self, weights: &str, name: &str, x: &Value) -> Value {
        let (weight, bias) = (self.tensor(&format!("{weights}.weight")), self.tensor(&format!("{weights}.bias")));
        self.linear_of(weights, name, weight, bias, x)
    }

    fn linear_of(&mut self, weights: &str, name: &str, weight: &Tensor, bias: &Tensor, x: &Value) -> Value {
        if self.has_node(name) {
            return name.into();
        }
        let product = self.product(&format!("{name}.product"), x, &format!("{weights}.weight"), weight);
        let bias = self.floats(&format!("{weights}.bias"), &bias.shape, &bias.data);
        self.add(name, &product, &bias)
    }

    /// One of query (0), key (1), value (2) out of the rows of `NAME.attn.qkv`. The query takes the softmax's 1/√d along.
    pub(super) fn qkv_part(&mut self, block: &str, part: usize, heads: usize, x: &Value) -> Value {
        self.qkv_part_as(block, &format!("{block}.attn"), part, heads, x)
    }

    pub(super) fn qkv_part_as(&mut self, block: &str, name: &str, part: usize, heads: usize, x: &Value) -> Value {
        let take = |tensor: &Tensor| {
            let third = tensor.data.len() / 3;
            let mut shape = tensor.shape.clone();
            shape[0] /= 3;
            Tensor::new(shape, tensor.data[part * third..][..third].to_vec())
        };
        let mut weight = take(self.tensor(&format!("{block}.attn.qkv.weight")));
        let mut bias = take(self.tensor(&format!("{block}.attn.qkv.bias")));
        if part < 2 && self.model.config.image.rotary.is_some() && block.starts_with("image.blocks.") {
            [weight, bias] = [weight, bias].map(|tensor| sorted(tensor, heads));
        }
        if part == 0 {
            let scale = ((weight.shape[0] / heads) as f32).sqrt().recip();
            weight.data.iter_mut().chain(&mut bias.data).for_each(|x| *x *= scale);
        }
        let part = ["query", "key", "value"][part];
        self.linear_of(&format!("{block}.attn.{part}"), &format!("{name}.{part}"), &weight, &bias, x)
    }

    /// Multi-head attention from projected query, key and value `[batch, tokens, width]`, before the output projection.
    /// `bias` is added to the logits `[batch, heads, tokens, tokens]`.
    pub(super) fn attention(
        &mut self,
        name: &str,
        [query, key, value]: [&Value; 3],
        bias: Option<&Value>,
        heads: usize,
        width: usize,
    ) -> Value {
        let split = [0, 0, heads as i64, (width / heads) as i64];
        let per_head = |graph: &mut Self, part: &str, x: &Value, perm: &[i64]| {
            let x = graph.reshape(&format!("{name}.{part}.split"), x, &split);
            graph.transpose(&format!("{name}.{part}.heads"), &x, perm)
        };
        let query = per_head(self, "query", query, &[0, 2, 1, 3]); // [batch, heads, tokens, d]
        let key = per_head(self, "key", key, &[0, 2, 3, 1]); // [batch, heads, d, tokens]
        let value = per_head(self, "value", value, &[0, 2, 1, 3]); // [batch, heads, tokens, d]
        let mut logits = self.op(&format!("{name}.logits"), "MatMul", &[&query, &key], vec![]);
        if let Some(bias) = bias {
            logits = self.add(&format!("{name}.masked"), &logits, bias);
        }
        let weights = self.op(&format!("{name}.softmax"), "Softmax", &[&logits], vec![("axis", Attr::Int(-1))]);
        let mixed = self.op(&format!("{name}.mixed"), "MatMul", &[&weights, &value], vec![]);
        let mixed = self.transpose(&format!("{name}.mixed.tokens"), &mixed, &[0, 2, 1, 3]);
        self.reshape(&format!("{name}.mixed.join"), &mixed, &[0, 0, width as i64])
    }

    /// The output projection of the attention called `weights`, behind its LayerNorm if it has one.
    pub(super) fn attention_out(&mut self, weights: &str, name: &str, mixed: &Value) -> Value {
        let norm = format!("{weights}.norm");
        if !self.model.weights.contains_key(&format!("{norm}.weight")) {
            return self.linear_as(&format!("{weights}.proj"), name, mixed);
        }
        let normed = self.norm_as(&norm, &format!("{name}.normed"), mixed, self.model.config.image.norm_eps);
        self.linear_as(&format!("{weights}.proj"), name, &normed)
    }

    pub(super) fn activation(&mut self, name: &str, kind: Activation, x: &Value) -> Value {
        let mul = |graph: &mut Self, name: String, a: &Value, b: &Value| graph.op(&name, "Mul", &[a, b], vec![]);
        match kind {
            // x/2 · (1 + erf(x/√2)), in the order of operations that tract and onnxruntime look for.
            Activation::Gelu => {
                let (root, one, half) = (self.scalar(std::f32::consts::FRAC_1_SQRT_2), self.scalar(1.0), self.scalar(0.5));
                let scaled = mul(self, format!("{name}.scaled"), x, &root);
                let erf = self.op(&format!("{name}.erf"), "Erf", &[&scaled], vec![]);
                let sum = self.add(&format!("{name}.sum"), &erf, &one);
                let half = mul(self, format!("{name}.half"), x, &half);
                mul(self, name.into(), &half, &sum)
            }
            // x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³))).
            Activation::GeluTanh => {
                let three = self.scalar(3.0);
                let (cubic, root, one, half) =
                    (self.scalar(0.044715), self.scalar((2.0 / std::f32::consts::PI).sqrt()), self.scalar(1.0), self.scalar(0.5));
                let cube = self.op(&format!("{name}.cube"), "Pow", &[x, &three], vec![]);
                let cube = mul(self, format!("{name}.cubic"), &cube, &cubic);
                let inner = self.add(&format!("{name}.inner"), x, &cube);
                let inner = mul(self, format!("{name}.scaled"), &inner, &root);
                let tanh = self.op(&format!("{name}.tanh"), "Tanh", &[&inner], vec![]);
                let sum = self.add(&format!("{name}.sum"), &tanh, &one);
                let half = mul(self, format!("{name}.half"), x, &half);
                mul(self, name.into(), &half, &sum)
            }
            Activation::Relu => self.op(name, "Relu", &[x], vec![]),
            Activation::QuickGelu => {
                let slope = self.scalar(1.702);
                let scaled = mul(self, format!("{name}.scaled"), x, &slope);
                let gate = self.op(&format!("{name}.gate"), "Sigmoid", &[&scaled], vec![]);
                mul(self, name.into(), x, &gate)
            }
        }
    }

    /// `fc2(activation(fc1(x)))`.
    pub(super) fn mlp(&mut self, name: &str, kind: Activation, x: &Value) -> Value {
        self.mlp_as(name, name, kind, x)
    }

    pub(super) fn mlp_as(&mut self, weights: &str, name: &str, kind: Activation, x: &Value) -> Value {
        let hidden = self.linear_as(&format!("{weights}.fc1"), &format!("{name}.fc1"), x);
        let hidden = if self.model.weights.contains_key(&format!("{weights}.gate.weight")) {
            let gate = self.linear_as(&format!("{weights}.gate"), &format!("{name}.gate"), x);
            let share = self.op(&format!("{name}.gate.share"), "Sigmoid", &[&gate], vec![]);
            let gate = self.op(&format!("{name}.gate.silu"), "Mul", &[&gate, &share], vec![]);
            let hidden = self.op(&format!("{name}.gated"), "Mul", &[&gate, &hidden], vec![]);
            self.norm_as(&format!("{weights}.norm"), &format!("{name}.normed"), &hidden, self.model.config.image.norm_eps)
        } else {
            self.activation(&format!("{name}.act"), kind, &hidden)
        };
        self.linear_as(&format!("{weights}.fc2"), &format!("{name}.fc2"), &hidden)
    }

    /// A convolution of odd side that keeps the size.
    pub(super) fn convolution(&mut self, name: &str, weight: &Tensor, bias: &Tensor, x: &Value) -> Value {
        let side = weight.shape[2] as i64;
        let kernel = self.matrix(&format!("{name}.weight"), weight, false);
        let bias = self.floats(&format!("{name}.bias"), &bias.shape, &bias.data);
        let pads = Attr::Ints(vec![side / 2; 4]);
        self.op(name, "Conv", &[x, &kernel, &bias], vec![("kernel_shape", Attr::Ints(vec![side, side])), ("pads", pads)])
    }

    /// A convolution whose kernel steps by its own size.
    pub(super) fn patches(&mut self, name: &str, x: &Value, bias: bool) -> Value {
        let tensor = self.tensor(&format!("{name}.weight"));
        let side = tensor.shape[2] as i64;
        let kernel = self.matrix(&format!("{name}.weight"), tensor, false);
        let bias = bias.then(|| self.vector(&format!("{name}.bias")));
        let inputs: Vec<&Value> = [x, &kernel].into_iter().chain(&bias).collect();
        self.op(name, "Conv", &inputs, vec![("kernel_shape", Attr::Ints(vec![side, side])), ("strides", Attr::Ints(vec![side, side]))])
    }
}

fn value_info(name: &str, elem_type: i32, dims: &[Dim]) -> ValueInfoProto {
    let dim = dims.iter().map(|value| DimProto { value: Some(value.clone()) }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(ShapeProto { dim }) };
    ValueInfoProto { name: name.into(), kind: Some(TypeProto { tensor: Some(tensor) }) }
}

/// The rows of a query's or key's weights, that rotary embeddings turn, with the first of all pairs of a head before the second of them.
fn sorted(tensor: Tensor, heads: usize) -> Tensor {
    let rows = tensor.shape[0];
    let (row, head) = (tensor.data.len() / rows, rows / heads);
    let order = (0..rows).map(|n| {
        let (first, at) = (n / head * head, n % head);
        first + if at < head / 2 { 2 * at } else { 2 * (at - head / 2) + 1 }
    });
    Tensor::new(tensor.shape.clone(), order.flat_map(|from| tensor.data[from * row..][..row].iter().copied()).collect())
}

/// `[rows, columns]` to `[columns, rows]`.
pub(super) fn transposed<T: Copy>(data: &[T], rows: usize) -> Vec<T> {
    let columns = data.len() / rows;
    (0..columns).flat_map(|c| (0..rows).map(move |r| data[r * columns + c])).collect()
}
