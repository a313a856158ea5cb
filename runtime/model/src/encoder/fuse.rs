//! Rewrites an encoder's ONNX graph before the engine reads it: chains of small operators become the layers of `super::layers`.
//!
//! What matches no pattern stays as it is, so every other graph still runs.

use std::collections::HashMap;

use edge_seg_kernels::{Activation, activate, erf};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

use super::names::{ATTENTION, EMBEDDING, FLOAT, FLOAT16, INT8, LAYER_NORM, LINEAR, LINEAR_INT8, UINT8, element};

/// Replaces every chain that a layer stands for.
pub(super) fn fuse(model: &mut ModelProto) {
    if let Some(graph) = &mut model.graph {
        let patterns = [
            ("Softmax", attention as Pattern),
            ("MatMul", linear),
            ("MatMulInteger", linear_int8),
            ("LayerNormalization", layer_norm),
            ("Gather", embedding),
        ];
        for (op, pattern) in patterns {
            while fuse_once(graph, op, pattern) {}
        }
        // Behind the products, of which some pattern takes a part of what is looked for here otherwise.
        while fuse_once(graph, ATTENTION, turned_attention) {}
        in_integers(graph);
        drop_unused(graph);
    }
}

/// Replaces chains of one kind that have no node in common; whether there were any. Of two that share a node the earlier one has it, and
/// what is left of the other is looked at in the next round.
fn fuse_once(graph: &mut GraphProto, op: &str, pattern: Pattern) -> bool {
    let mut taken = vec![false; graph.node.len()];
    let seen = Graph::new(graph);
    let marks = (0..graph.node.len()).filter(|at| graph.node[*at].op_type == op);
    let found: Vec<Fusion> = marks
        .filter_map(|at| {
            let fusion = pattern(&seen, at)?;
            let free = fusion.parts.iter().all(|part| !taken[*part]);
            fusion.parts.iter().for_each(|part| taken[*part] |= free);
            free.then_some(fusion)
        })
        .collect();
    let any = !found.is_empty();
    for Fusion { node, parts } in found {
        // The last part's place is behind all that the layer reads.
        if let Some(last) = parts.into_iter().max() {
            graph.node[last] = node;
            taken[last] = false;
        }
    }
    let mut taken = taken.into_iter();
    graph.node.retain(|_| !taken.next().unwrap_or_default());
    any
}

/// Where query, key and value come from products in integers, attention is computed in integers too.
fn in_integers(graph: &mut GraphProto) {
    let made: std::collections::HashSet<String> =
        graph.node.iter().filter(|node| node.op_type == LINEAR_INT8).flat_map(|node| node.output.clone()).collect();
    for node in graph.node.iter_mut().filter(|node| node.op_type == ATTENTION) {
        if node.input.iter().take(3).all(|input| made.contains(input)) {
            node.attribute.push(integer("int8", 1));
        }
    }
}

/// Looks for a layer whose mark is the node at an index.
type Pattern = fn(&Graph<'_>, usize) -> Option<Fusion>;

/// A layer and the nodes whose work it does.
struct Fusion {
    node: NodeProto,
    parts: Vec<usize>,
}

/// Looks up who makes and who reads a value.
struct Graph<'a> {
    proto: &'a GraphProto,
    made: HashMap<&'a str, usize>,
    read: HashMap<&'a str, Vec<usize>>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

/// A constant matrix or vector, perhaps stored in fewer bits.
struct Constant<'a> {
    values: &'a TensorProto,
    scales: Option<&'a TensorProto>,
}

impl<'a> Graph<'a> {
    fn new(proto: &'a GraphProto) -> Self {
        let (mut made, mut read) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (index, node) in proto.node.iter().enumerate() {
            made.extend(node.output.iter().map(|output| (output.as_str(), index)));
            node.input.iter().for_each(|input| read.entry(input.as_str()).or_default().push(index));
        }
        // What the graph gives out must stay: it has a reader that no pattern knows.
        proto.output.iter().for_each(|output| read.entry(output.name.as_str()).or_default().push(usize::MAX));
        // Of two constants of one name the first is what graphs mean.
        let constants = proto.initializer.iter().rev().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Self { proto, made, read, constants }
    }

    fn node(&self, index: usize) -> Option<&'a NodeProto> {
        self.proto.node.get(index)
    }

    fn readers(&self, value: &str) -> &[usize] {
        self.read.get(value).map_or(&[], Vec::as_slice)
    }

    /// The only reader of a value, if it is an `op`.
    fn next(&self, value: &str, op: &str) -> Option<usize> {
        match self.readers(value) {
            [only] => self.node(*only).filter(|node| node.op_type == op).map(|_| *only),
            _ => None,
        }
    }

    /// The maker of a value that has no other reader, if it is an `op`.
    fn previous(&self, value: &str, op: &str) -> Option<usize> {
        let index = *self.made.get(value)?;
        (self.node(index)?.op_type == op && self.readers(value).len() == 1).then_some(index)
    }

    fn initializer(&self, name: &str) -> Option<&'a TensorProto> {
        self.constants.get(name).copied()
    }

    /// A constant: stored as floats, as half floats with a cast, or as integers with a scale for each column.
    fn constant(&self, name: &str) -> Option<Constant<'a>> {
        if let Some(values) = self.initializer(name) {
            return is_float(values).then_some(Constant { values, scales: None });
        }
        let node = self.node(*self.made.get(name)?)?;
        let values = self.initializer(node.input.first()?)?;
        match (node.op_type.as_str(), node.input.len()) {
            ("Cast", 1) if is_float(values) => Some(Constant { values, scales: None }),
            ("DequantizeLinear", 2) => {
                let scales = self.initializer(&node.input[1])?;
                let axis = attribute(node, "axis").map_or(1, |a| a.i);
                (values.dims.len() == 2 && (axis == 1 || axis == -1) && scales.dims == [values.dims[1]])
                    .then_some(Constant { values, scales: Some(scales) })
            }
            _ => None,
        }
    }

    /// Whether a matrix of bytes has its zero in the middle of their range, for every column.
    fn is_symmetric(&self, matrix: &TensorProto, zero: &str) -> bool {
        let middle = |data_type: i32| match data_type {
            INT8 => Some(0),
            UINT8 => Some(128),
            _ => None,
        };
        self.initializer(zero).is_some_and(|zero| {
            let Some(middle) = middle(matrix.data_type) else { return false };
            let all = zero.raw_data.iter().map(|b| i32::from(*b)).chain(zero.int32_data.iter().copied());
            zero.data_type == matrix.data_type && all.clone().next().is_some() && all.into_iter().all(|byte| byte == middle)
        })
    }

    /// The one number of a constant.
    fn scalar(&self, name: &str) -> Option<f32> {
        let tensor = self.initializer(name)?;
        match (tensor.data_type, tensor.raw_data.as_slice(), tensor.float_data.as_slice()) {
            (FLOAT, raw, []) => Some(f32::from_le_bytes(raw.try_into().ok()?)),
            (FLOAT, [], [number]) => Some(*number),
            _ => None,
        }
    }

    fn output(&self, index: usize) -> &'a str {
        self.node(index).and_then(|node| node.output.first()).map_or("", String::as_str)
    }
}

fn is_float(tensor: &TensorProto) -> bool {
    tensor.data_type == FLOAT || tensor.data_type == FLOAT16
}

/// `MatMul` with a constant matrix, and what follows it of: bias, activation, sum with another value.
fn linear(graph: &Graph<'_>, at: usize) -> Option<Fusion> {
    let product = graph.node(at).filter(|node| node.op_type == "MatMul" && node.input.len() == 2)?;
    let weight = graph.constant(&product.input[1]).filter(|weight| weight.values.dims.len() == 2)?;
    if graph.constant(&product.input[0]).is_some() {
        return None;
    }
    let mut attributes = vec![tensor("weight", weight.values)];
    attributes.extend(weight.scales.map(|scales| tensor("scales", scales)));
    let outputs = weight.values.dims[1];
    Some(Product { op: LINEAR, x: &product.input[0], outputs, attributes, parts: vec![at], value: graph.output(at) }.with_rest(graph))
}

/// `MatMulInteger` with a constant matrix and rows from `DynamicQuantizeLinear`, brought back to floats with both scales, and what follows
/// it as in [`linear`].
fn linear_int8(graph: &Graph<'_>, at: usize) -> Option<Fusion> {
    let [rows, matrix, row_zero, zero @ ..] = graph.node(at)?.input.as_slice() else { return None };
    let quantizer = graph.node(*graph.made.get(rows.as_str())?).filter(|node| node.op_type == "DynamicQuantizeLinear")?;
    let [row_values, row_scale, zero_of_rows] = quantizer.output.as_slice() else { return None };
    let weight = graph.initializer(matrix).filter(|weight| weight.dims.len() == 2)?;
    if row_values != rows || zero_of_rows != row_zero || !zero.iter().all(|zero| zero.is_empty() || graph.is_symmetric(weight, zero)) {
        return None;
    }
    let cast = graph.next(graph.output(at), "Cast").filter(|cast| to_float(graph, *cast))?;
    let product = graph.next(graph.output(cast), "Mul")?;
    let other = other_of(graph, product, graph.output(cast))?;
    let both = *graph.made.get(other)?;
    graph.node(both).filter(|node| node.op_type == "Mul" && node.input.contains(row_scale))?;
    let scales = graph.initializer(other_of(graph, both, row_scale)?).filter(|scales| scales.data_type == FLOAT)?;
    let count: i64 = scales.dims.iter().product();
    if count != 1 && (count != weight.dims[1] || scales.dims.last() != Some(&count)) {
        return None;
    }
    let attributes = vec![tensor("weight", weight), tensor("scales", scales)];
    let (outputs, value) = (weight.dims[1], graph.output(product));
    Some(
        Product { op: LINEAR_INT8, x: quantizer.input.first()?, outputs, attributes, parts: vec![at, cast, product], value }
            .with_rest(graph),
    )
}

fn to_float(graph: &Graph<'_>, index: usize) -> bool {
    graph.node(index).and_then(|node| attribute(node, "to")).is_some_and(|to| to.i == i64::from(FLOAT))
}

/// The other input of a node that has two.
fn other_of<'a>(graph: &Graph<'a>, index: usize, value: &str) -> Option<&'a str> {
    let [a, b] = graph.node(index)?.input.as_slice() else { return None };
    Some(if a == value { b } else { a })
}

/// A product of rows and a constant matrix.
struct Product<'a> {
    op: &'static str,
    x: &'a str,
    outputs: i64,
    attributes: Vec<AttributeProto>,
    parts: Vec<usize>,
    value: &'a str,
}

impl<'a> Product<'a> {
    /// Takes bias, activation and sum along.
    fn with_rest(self, graph: &Graph<'a>) -> Fusion {
        let Product { op, x, outputs, mut attributes, mut parts, mut value } = self;
        let mut inputs = vec![x.to_owned()];
        if let Some((sum, other)) = other_of_sum(graph, value)
            && let Some(bias) = graph.constant(other).filter(|bias| bias.values.dims == [outputs] && bias.scales.is_none())
        {
            attributes.push(tensor("bias", bias.values));
            parts.push(sum);
            value = graph.output(sum);
        }
        if let Some((activation, more)) = activation(graph, value) {
            attributes.push(integer("activation", activation as i64));
            value = more.last().map_or(value, |last| graph.output(*last));
            parts.extend(more);
        }
        if let Some((sum, other)) = other_of_sum(graph, value)
            && graph.constant(other).is_none()
            && other != value
        {
            inputs.push(other.into());
            parts.push(sum);
            value = graph.output(sum);
        }
        Fusion { node: layer(op, inputs, value, attributes), parts }
    }
}

/// The sum that is the only reader of a value, and what is added there.
fn other_of_sum<'a>(graph: &Graph<'a>, value: &str) -> Option<(usize, &'a str)> {
    let sum = graph.next(value, "Add")?;
    Some((sum, other_of(graph, sum, value)?))
}

/// An activation of `x` and its nodes, the last one's output being its value.
///
/// Exporters write one function in many ways, so it is known by its values and not by its operators.
fn activation(graph: &Graph<'_>, x: &str) -> Option<(Activation, Vec<usize>)> {
    let points: Vec<f32> = (-32..=32).map(|n| n as f32 / 4.0).collect();
    let is = |kind: Activation, values: &[f32]| points.iter().zip(values).all(|(x, y)| (activate(*x, kind) - y).abs() <= ACTIVATION_NEAR);
    let mut known = HashMap::from([(x, points.clone())]);
    let mut parts = Vec::new();
    while parts.len() < ACTIVATION_NODES {
        let next = known.keys().flat_map(|value| graph.readers(value)).filter(|index| !parts.contains(*index)).min()?;
        let (value, values) = elementwise(graph, *next, &known)?;
        parts.push(*next);
        known.insert(value, values);
        // Nothing but the last value is read elsewhere.
        let inner = known.keys().filter(|name| **name != value).all(|name| graph.readers(name).iter().all(|index| parts.contains(index)));
        let found = [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu].into_iter().find(|kind| is(*kind, &known[value]));
        if let Some(kind) = found.filter(|_| inner) {
            return Some((kind, parts));
        }
    }
    None
}

/// The two forms of GELU are 4.7e-4 apart where they differ most.
const ACTIVATION_NEAR: f32 = 5e-5;
const ACTIVATION_NODES: usize = 16;

/// What a node that works number by number gives for known values and constants of one number.
fn elementwise<'a>(graph: &Graph<'a>, index: usize, known: &HashMap<&'a str, Vec<f32>>) -> Option<(&'a str, Vec<f32>)> {
    let node = graph.node(index)?;
    let given = |input: usize| {
        let name = node.input.get(input)?;
        known.get(name.as_str()).cloned().or_else(|| Some(vec![graph.scalar(name)?; known.values().next()?.len()]))
    };
    let one = |f: fn(f32) -> f32| Some(given(0)?.into_iter().map(f).collect());
    let two = |f: fn(f32, f32) -> f32| Some(given(0)?.into_iter().zip(given(1)?).map(|(a, b)| f(a, b)).collect());
    let values: Option<Vec<f32>> = match node.op_type.as_str() {
        "Add" => two(|a, b| a + b),
        "Sub" => two(|a, b| a - b),
        "Mul" => two(|a, b| a * b),
        "Div" => two(|a, b| a / b),
        "Pow" => two(f32::powf),
        "Neg" => one(|a| -a),
        "Exp" => one(f32::exp),
        "Reciprocal" => one(f32::recip),
        "Erf" => one(erf),
        "Tanh" => one(f32::tanh),
        "Sigmoid" => one(|a| 1.0 / (1.0 + (-a).exp())),
        "Gelu" if attribute(node, "approximate").is_some_and(|a| a.s == b"tanh") => one(|a| activate(a, Activation::GeluTanh)),
        "Gelu" => one(|a| activate(a, Activation::Gelu)),
        _ => None,
    };
    Some((graph.output(index), values?))
}

/// `LayerNormalization` over the last axis.
fn layer_norm(graph: &Graph<'_>, at: usize) -> Option<Fusion> {
    let node = graph.node(at).filter(|node| node.op_type == "LayerNormalization" && node.input.len() == 3 && node.output.len() == 1)?;
    let vector = |name: &str| graph.constant(name).filter(|c| c.values.dims.len() == 1).map(|c| c.values);
    let (weight, bias) = (vector(&node.input[1])?, vector(&node.input[2])?);
    if attribute(node, "axis").is_some_and(|axis| axis.i != -1) || weight.dims != bias.dims {
        return None;
    }
    let eps =
        AttributeProto { name: "epsilon".into(), f: attribute(node, "epsilon").map_or(1e-5, |a| a.f), r#type: 1, ..Default::default() };
    let attributes = vec![tensor("weight", weight), tensor("bias", bias), eps];
    Some(Fusion { node: layer(LAYER_NORM, vec![node.input[0].clone()], graph.output(at), attributes), parts: vec![at] })
}

/// Smaller tables are as well in memory.
const TABLE_BYTES: i64 = 1 << 20;

/// `Gather` of the rows of a large constant.
fn embedding(graph: &Graph<'_>, at: usize) -> Option<Fusion> {
    let node = graph.node(at)?;
    let [table, ids] = node.input.as_slice() else { return None };
    let table = graph.initializer(table).filter(|table| table.float_data.is_empty() && table.int32_data.is_empty())?;
    let (_, size) = element(table.data_type)?;
    let large = matches!(table.dims[..], [rows, width] if rows > 0 && width > TABLE_BYTES / size as i64 / rows);
    if !large || attribute(node, "axis").is_some_and(|axis| axis.i != 0) || graph.initializer(ids).is_some() {
        return None;
    }
    let attributes = vec![tensor("table", table)];
    Some(Fusion { node: layer(EMBEDDING, vec![ids.clone()], graph.output(at), attributes), parts: vec![at] })
}

/// Attention, from the split of query, key and value by heads to the join of the heads, and what is added to its logits.
fn attention(graph: &Graph<'_>, at: usize) -> Option<Fusion> {
    let softmax = graph.node(at).filter(|node| node.op_type == "Softmax")?;
    // Before opset 13 the axis was 1 by default; without the attribute the last axis is not certain.
    attribute(softmax, "axis").filter(|axis| axis.i == -1 || axis.i == 3)?;
    let sum = graph.previous(softmax.input.first()?, "Add");
    let (logits, added) = match sum.and_then(|sum| graph.node(sum)).map(|node| node.input.as_slice()) {
        Some([a, b]) => match graph.previous(a, "MatMul") {
            Some(logits) => (logits, Some(b)),
            None => (graph.previous(b, "MatMul")?, Some(a)),
        },
        _ => (graph.previous(softmax.input.first()?, "MatMul")?, None),
    };
    let mixed = graph.next(graph.output(at), "MatMul")?;
    if graph.node(mixed)?.input.first()? != graph.output(at) {
        return None;
    }
    let tokens = graph.next(graph.output(mixed), "Transpose").filter(|index| permutes(graph, *index, [0, 2, 1, 3]))?;
    let join = graph.next(graph.output(tokens), "Reshape")?;
    let mut parts = vec![at, logits, mixed, tokens, join];
    parts.extend(sum);
    let mut inputs = Vec::new();
    let mut split = None;
    let values = [(logits, 0, [0, 2, 1, 3]), (logits, 1, [0, 2, 3, 1]), (mixed, 1, [0, 2, 1, 3])];
    for (product, input, order) in values {
        let heads = graph.previous(graph.node(product)?.input.get(input)?, "Transpose").filter(|index| permutes(graph, *index, order))?;
        let reshape = graph.previous(graph.node(heads)?.input.first()?, "Reshape")?;
        let node = graph.node(reshape)?;
        let shape = graph.shape(node.input.get(1)?).filter(|shape| shape.len() == 4 && shape[2] > 0 && shape[3] > 0)?;
        if *split.get_or_insert([shape[2], shape[3]]) != [shape[2], shape[3]] {
            return None;
        }
        parts.extend([heads, reshape]);
        inputs.push(node.input[0].clone());
    }
    let [heads, head_dim] = split?;
    let joined = graph.shape(graph.node(join)?.input.get(1)?)?;
    if joined.len() != 3 || joined[2] != -1 && joined[2] != heads * head_dim {
        return None;
    }
    inputs.extend(added.cloned());
    let attributes = vec![integer("heads", heads), integer("head_dim", head_dim)];
    Some(Fusion { node: layer(ATTENTION, inputs, graph.output(join), attributes), parts })
}

/// Attention whose query and key are both turned by the same angles: it turns them itself.
fn turned_attention(graph: &Graph<'_>, at: usize) -> Option<Fusion> {
    let node = graph.node(at).filter(|node| attribute(node, "turned").is_none())?;
    let [query, key, rest @ ..] = node.input.as_slice() else { return None };
    let heads = [attribute(node, "heads")?.i, attribute(node, "head_dim")?.i];
    let [query, key] = [query, key].map(|value| turned(graph, value, heads));
    let (query, key) = (query?, key?);
    if query.angles != key.angles {
        return None;
    }
    let mut inputs = vec![query.x.to_owned(), key.x.to_owned()];
    inputs.extend(rest.iter().cloned());
    inputs.extend(query.angles.map(str::to_owned));
    let mut attributes = node.attribute.clone();
    attributes.push(integer("turned", 1));
    let parts = [vec![at], query.parts, key.parts].concat();
    Some(Fusion { node: layer(ATTENTION, inputs, graph.output(at), attributes), parts })
}

/// Queries or keys that are turned by where their token stands.
struct Turned<'a> {
    x: &'a str,
    /// Cosine and sine of every token's angles.
    angles: [&'a str; 2],
    parts: Vec<usize>,
}

/// A split by heads, the two halves of each turned against one another, and the join of the heads:
/// `first · cos - second · sin` beside `second · cos + first · sin`.
fn turned<'a>(graph: &Graph<'a>, value: &str, [heads, head_dim]: [i64; 2]) -> Option<Turned<'a>> {
    let join = graph.previous(value, "Reshape")?;
    graph.shape(graph.node(join)?.input.get(1)?).filter(|shape| shape.len() == 3 && shape[2] == heads * head_dim)?;
    let both = graph.previous(graph.node(join)?.input.first()?, "Concat")?;
    attribute(graph.node(both)?, "axis").filter(|axis| axis.i == -1 || axis.i == 3)?;
    let [difference, sum] = graph.node(both)?.input.as_slice() else { return None };
    let [difference, sum] = [graph.previous(difference, "Sub")?, graph.previous(sum, "Add")?];
    let product = |of: usize, input: usize| {
        let index = graph.previous(graph.node(of)?.input.get(input)?, "Mul")?;
        let [half, angle] = graph.node(index)?.input.as_slice() else { return None };
        Some((index, half.as_str(), angle.as_str()))
    };
    let [(a, first, cos), (b, second, sin)] = [product(difference, 0)?, product(difference, 1)?];
    let [(c, again, same_cos), (d, other, same_sin)] = [product(sum, 0)?, product(sum, 1)?];
    if [again, other, same_cos, same_sin] != [second, first, cos, sin]
        || graph.readers(first).len() != 2
        || graph.readers(second).len() != 2
    {
        return None;
    }
    let half = |value: &str, from: i64, to: i64| {
        let index = *graph.made.get(value)?;
        let node = graph.node(index).filter(|node| node.op_type == "Slice" && node.input.len() == 4)?;
        let ints = [1, 2, 3].map(|input| graph.shape(&node.input[input]));
        let axis = ints[2].as_deref() == Some(&[3]) || ints[2].as_deref() == Some(&[-1]);
        let fits = ints[0].as_deref() == Some(&[from]) && ints[1].as_deref() == Some(&[to]) && axis;
        fits.then_some((index, node.input[0].as_str()))
    };
    let [(low, split), (high, same_split)] = [half(first, 0, head_dim / 2)?, half(second, head_dim / 2, head_dim)?];
    if split != same_split || graph.readers(split).len() != 2 {
        return None;
    }
    let by_head = *graph.made.get(split)?;
    let node = graph.node(by_head).filter(|node| node.op_type == "Reshape")?;
    graph.shape(node.input.get(1)?).filter(|shape| shape.len() == 4 && shape[2..] == [heads, head_dim])?;
    Some(Turned { x: &node.input[0], angles: [cos, sin], parts: vec![join, both, difference, sum, a, b, c, d, low, high, by_head] })
}

fn permutes(graph: &Graph<'_>, index: usize, order: [i64; 4]) -> bool {
    graph.node(index).and_then(|node| attribute(node, "perm")).is_some_and(|perm| perm.ints == order)
}

impl Graph<'_> {
    /// A constant shape.
    fn shape(&self, name: &str) -> Option<Vec<i64>> {
        let tensor = self.initializer(name).filter(|tensor| tensor.data_type == 7)?;
        let raw = tensor.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap_or_default()));
        Some(tensor.int64_data.iter().copied().chain(raw).collect())
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn layer(op: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto { op_type: op.into(), input, output: vec![output.into()], name: output.into(), attribute, ..Default::default() }
}

/// The constant as an attribute; where its bytes were taken out of the graph, by its name alone.
fn tensor(name: &str, tensor: &TensorProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 4, t: Some(tensor.clone()), ..Default::default() }
}

fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i, ..Default::default() }
}

/// Drops nodes and constants that nothing reads any more.
pub(super) fn drop_unused(graph: &mut GraphProto) {
    loop {
        let read: std::collections::HashSet<String> =
            graph.node.iter().flat_map(|node| node.input.clone()).chain(graph.output.iter().map(|output| output.name.clone())).collect();
        let before = graph.node.len();
        graph.node.retain(|node| node.output.iter().any(|output| read.contains(output)));
        if graph.node.len() == before {
            graph.initializer.retain(|tensor| read.contains(&tensor.name));
            return;
        }
    }
}

#[cfg(test)]
#[path = "fuse_tests.rs"]
mod tests;
