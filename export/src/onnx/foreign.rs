//! ONNX files of other writers: read, brought to the inputs and outputs of this crate's own, and to the layers that the runtime computes
//! in its own kernels.

mod attention;
mod dense;
mod load;
mod places;
mod rewrite;
mod rotation;
mod store;

use std::collections::{BTreeSet, HashMap, HashSet};

use edge_seg_model::{GraphFact, GraphTensor};
use prost::Message;

use super::proto::{
    self, AttributeProto, Dim, DimProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use super::proto::{ShapeProto, TensorTypeProto, TypeProto};
use crate::Result;

/// A graph, or the part of one that some of its outputs need.
#[derive(Clone)]
pub(crate) struct Foreign {
    pub place: String,
    graph: GraphProto,
    opset: Vec<OperatorSetIdProto>,
    made: usize,
}

/// An input or an output as the file declares it; sizes that are free are none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Declared {
    /// Its name in the graph.
    pub value: String,
    /// Its name in the file.
    pub name: String,
    pub elem_type: i32,
    pub dims: Option<Vec<Option<usize>>>,
}

/// What comes before every name of the file, so that none is this crate's.
const PREFIX: &str = "file/";

pub(crate) type Facts = HashMap<String, GraphFact>;

impl Foreign {
    pub(crate) fn inputs(&self) -> Vec<Declared> {
        self.graph.input.iter().map(declared).collect()
    }

    pub(crate) fn outputs(&self) -> Vec<Declared> {
        self.graph.output.iter().map(declared).collect()
    }

    /// The graph's name for what the file calls `name`, if it is a value that a node or an input makes.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let value = format!("{PREFIX}{name}");
        let made = self.graph.node.iter().any(|node| node.output.contains(&value)) || self.graph.input.iter().any(|i| i.name == value);
        made.then_some(value)
    }

    /// The part that makes these values, which become its outputs.
    pub(crate) fn part(&self, values: &[String]) -> Self {
        let mut part = self.clone();
        let output = |value: &String| {
            let declared = self.graph.output.iter().find(|output| output.name == *value).cloned();
            declared.unwrap_or_else(|| ValueInfoProto { name: value.clone(), ..Default::default() })
        };
        part.graph.output = values.iter().map(output).collect();
        let needed_values = part.before(&values.iter().map(String::as_str).collect::<Vec<_>>());
        part.graph.input.retain(|input| needed_values.contains(&input.name));
        part.tidy();
        part
    }

    /// Names of the inputs that a value depends on.
    pub(crate) fn needs(&self, value: &str) -> BTreeSet<String> {
        let before = self.before(&[value]);
        self.graph.input.iter().map(|input| input.name.clone()).filter(|name| before.contains(name)).collect()
    }

    /// These values and all that they are made of.
    fn before(&self, values: &[&str]) -> HashSet<String> {
        let makers = self.makers();
        let mut seen: HashSet<String> = HashSet::new();
        let mut open: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        while let Some(value) = open.pop() {
            if let Some(node) = makers.get(value.as_str()) {
                let node = &self.graph.node[*node];
                open.extend(needed(node).filter(|input| !input.is_empty() && !seen.contains(input)));
            }
            seen.insert(value);
        }
        seen
    }

    /// Whether `later` is made from `value` by more than moving, picking and averaging: with weights.
    pub(crate) fn makes(&self, value: &str, later: &str) -> bool {
        let before = self.before(&[later]);
        let mut after = HashSet::from([value.to_owned()]);
        let mut weighed = HashSet::new();
        for node in self.graph.node.iter().filter(|node| node.output.iter().any(|output| before.contains(output))) {
            if needed(node).any(|input| after.contains(&input)) {
                after.extend(node.output.iter().cloned());
                let weighs = ["MatMul", "Gemm", "Conv", "LayerNormalization", "MatMulInteger"].contains(&node.op_type.as_str());
                if weighs || needed(node).any(|input| weighed.contains(&input)) {
                    weighed.extend(node.output.iter().cloned());
                }
            }
        }
        weighed.contains(later)
    }

    /// Rows of the table of word embeddings that token ids pick from.
    pub(crate) fn vocabulary(&self, ids: &str) -> Option<usize> {
        let mut same = HashSet::from([ids.to_owned()]);
        for node in &self.graph.node {
            let Some(first) = node.input.first() else { continue };
            if node.op_type == "Gather" && node.input.get(1).is_some_and(|index| same.contains(index)) {
                return self.initializer(first).map(dims_of).filter(|dims| dims.len() == 2).map(|dims| dims[0]);
            }
            if ["Cast", "Reshape", "Identity", "Squeeze", "Unsqueeze"].contains(&node.op_type.as_str()) && same.contains(first) {
                same.extend(node.output.iter().cloned());
            }
        }
        None
    }

    /// How many tokens a value `[1, tokens, width]` has.
    pub(crate) fn tokens_of(&self, value: &str, inputs: &[GraphTensor]) -> Result<usize> {
        let facts = self.part(&[value.to_owned()]).facts(inputs)?;
        Ok(facts.get(value).and_then(|fact| fact.shape.get(1).copied()).unwrap_or(0))
    }

    /// Sides of the square maps that convolutions before a value make, in the graph's order.
    pub(crate) fn map_sides(&self, value: &str, facts: &Facts) -> Vec<usize> {
        let before = self.before(&[value]);
        let convolutions = self.graph.node.iter().filter(|node| node.op_type == "Conv" && before.contains(&node.output[0]));
        let side = |node: &NodeProto| match facts.get(&node.output[0])?.shape[..] {
            [_, _, rows, cols] if rows == cols => Some(rows),
            _ => None,
        };
        convolutions.filter_map(side).collect()
    }

    fn makers(&self) -> HashMap<&str, usize> {
        let outputs = |(index, node)| {
            let node: &NodeProto = node;
            node.output.iter().map(move |output| (output.as_str(), index)).collect::<Vec<_>>()
        };
        self.graph.node.iter().enumerate().flat_map(outputs).filter(|(name, _)| !name.is_empty()).collect()
    }

    /// Drops what no output needs, and puts nodes behind those whose values they read.
    fn tidy(&mut self) {
        let outputs: Vec<String> = self.graph.output.iter().map(|output| output.name.clone()).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let needed_values = self.before(&outputs);
        self.graph.node.retain(|node| node.output.iter().any(|output| needed_values.contains(output)));
        self.graph.initializer.retain(|tensor| needed_values.contains(&tensor.name));
        let mut ready: HashSet<String> = self.graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
        ready.extend(self.graph.input.iter().map(|input| input.name.clone()));
        let (mut left, mut sorted) = (std::mem::take(&mut self.graph.node), Vec::new());
        loop {
            let (now, later): (Vec<_>, Vec<_>) = {
                let mut now = Vec::new();
                let mut later = Vec::new();
                for node in left {
                    if needed(&node).all(|input| input.is_empty() || ready.contains(&input)) {
                        ready.extend(node.output.iter().cloned());
                        now.push(node);
                    } else {
                        later.push(node);
                    }
                }
                (now, later)
            };
            let stuck = now.is_empty();
            sorted.extend(now);
            left = later;
            if left.is_empty() || stuck {
                break;
            }
        }
        // What reads a value that nothing makes is for the engine to refuse, in its own words.
        sorted.append(&mut left);
        self.graph.node = sorted;
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        ModelProto {
            ir_version: 8,
            producer_name: "edge-seg-export".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph.clone()),
            opset_import: self.opset.clone(),
            functions: Vec::new(),
        }
        .encode_to_vec()
    }

    /// Shapes and constants for inputs of these shapes, in the order of [`Self::inputs`].
    pub(crate) fn facts(&self, inputs: &[GraphTensor]) -> Result<Facts> {
        Ok(edge_seg_model::graph_facts(&self.encode(), inputs)?)
    }

    /// ONNX's version that the file is written in.
    fn version(&self) -> i64 {
        self.opset.iter().find(|set| set.domain.is_empty() || set.domain == "ai.onnx").map_or(proto::OPSET, |set| set.version)
    }

    fn initializer(&self, name: &str) -> Option<&TensorProto> {
        self.graph.initializer.iter().find(|tensor| tensor.name == name)
    }

    fn fresh(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}.{}", self.made)
    }

    fn op(&mut self, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = self.fresh(op);
        self.op_to(op, inputs, attribute, &output)
    }

    fn op_to(&mut self, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>, output: &str) -> String {
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.into()],
            name: output.into(),
            attribute,
            ..Default::default()
        });
        output.into()
    }

    fn constant(&mut self, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> String {
        let name = self.fresh("constant");
        let dims = dims.iter().map(|dim| *dim as i64).collect();
        self.graph.initializer.push(TensorProto { dims, data_type, name: name.clone(), raw_data, ..Default::default() });
        name
    }

    fn ints(&mut self, values: &[i64]) -> String {
        self.constant(&[values.len()], proto::INT64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.constant(dims, proto::FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn transpose(&mut self, x: &str, perm: &[i64]) -> String {
        self.op("Transpose", &[x], vec![integers("perm", perm)])
    }

    fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("Reshape", &[x, &shape], vec![])
    }

    /// `x[from..to]` along an axis.
    fn slice(&mut self, x: &str, axis: i64, from: i64, to: i64) -> String {
        let [from, to, axis] = [from, to, axis].map(|v| self.ints(&[v]));
        self.op("Slice", &[x, &from, &to, &axis], vec![])
    }

    fn cast(&mut self, x: &str, to: i32) -> String {
        self.op("Cast", &[x], vec![integer("to", to.into())])
    }

    fn mean(&mut self, x: &str, axis: i64) -> String {
        let keep = integer("keepdims", 0);
        if self.version() >= 18 {
            let axes = self.ints(&[axis]);
            return self.op("ReduceMean", &[x, &axes], vec![keep]);
        }
        self.op("ReduceMean", &[x], vec![integers("axes", &[axis]), keep])
    }

    /// Puts `with` where an input was read, and takes the input away.
    fn replace_input(&mut self, input: &str, with: &str) {
        self.graph.input.retain(|declared| declared.name != input);
        for name in self.graph.node.iter_mut().flat_map(|node| node.input.iter_mut()).filter(|name| *name == input) {
            *name = with.into();
        }
    }

    fn declare_input(&mut self, name: &str, elem_type: i32, dims: &[Dim]) {
        self.graph.input.push(value_info(name, elem_type, dims));
    }

    fn declare_output(&mut self, name: &str, value: &str, dims: &[Dim]) {
        self.op_to("Identity", &[value], vec![], name);
        self.graph.output.push(value_info(name, proto::FLOAT, dims));
    }

    /// An image tower with the inputs and outputs of this crate's own. `patches` is `[1, leading + P, E]`, or a map `[1, E, rows, cols]`
    /// or `[1, rows, cols, E]`; without `global` it is the patches' mean. With `side` the input has that height and width alone.
    pub(crate) fn image_tower(&self, end: &ImageEnd<'_>, side: Option<usize>) -> Self {
        let mut tower = self.clone();
        tower.graph.output.clear();
        let pixels = tower.graph.input.first().map(|input| input.name.clone()).unwrap_or_default();
        tower.replace_input(&pixels, "pixels");
        let patches = match end.layout {
            Layout::Tokens => end.patches.to_owned(),
            Layout::Channels { first } => {
                let width = end.dim as i64;
                let flat = if first { [1, width, -1] } else { [1, -1, width] };
                let flat = tower.reshape(end.patches, &flat);
                if first { tower.transpose(&flat, &[0, 2, 1]) } else { flat }
            }
        };
        let patches = if end.leading > 0 { tower.slice(&patches, 1, end.leading as i64, i64::MAX) } else { patches };
        let global = match end.global {
            Some(global) => tower.reshape(global, &[1, end.dim as i64]),
            None => tower.mean(&patches, 1),
        };
        let symbol = |name: &str| Dim::Param(name.into());
        let size = |name: &str| side.map_or_else(|| symbol(name), |side| Dim::Value(side as i64));
        tower.declare_input("pixels", proto::FLOAT, &[Dim::Value(1), Dim::Value(3), size("height"), size("width")]);
        // The runtime gives every graph position embeddings; this one has its own.
        tower.declare_input("positions", proto::FLOAT, &[Dim::Value(1), symbol("tokens"), Dim::Value(1)]);
        tower.declare_output("patches", &patches, &[Dim::Value(1), symbol("patches"), Dim::Value(end.dim as i64)]);
        tower.declare_output("global", &global, &[Dim::Value(1), Dim::Value(end.dim as i64)]);
        tower.tidy();
        tower
    }

    /// A text tower with the inputs and outputs of this crate's own. With `length` sentences are filled up to that many tokens.
    pub(crate) fn text_tower(&self, end: &TextEnd<'_>, length: Option<usize>) -> Self {
        let mut tower = self.clone();
        tower.graph.output.clear();
        let full = |tower: &mut Self, value: &str, fill: i64| match length {
            None => value.to_owned(),
            Some(length) => {
                let fill: Vec<u8> = vec![fill; length].iter().flat_map(|v| v.to_le_bytes()).collect();
                let fill = tower.constant(&[1, length], proto::INT64, fill);
                let joined = tower.op("Concat", &[value, &fill], vec![integer("axis", 1)]);
                tower.slice(&joined, 1, 0, length as i64)
            }
        };
        for input in tower.inputs() {
            let value = match end.role(&input.value) {
                Role::Ids => full(&mut tower, "ids", end.pad),
                Role::Mask => full(&mut tower, "mask", 0),
                Role::Zeros => {
                    let zero = tower.ints(&[0]);
                    let ids = full(&mut tower, "ids", end.pad);
                    tower.op("Mul", &[&ids, &zero], vec![])
                }
            };
            let value = if input.elem_type == proto::INT64 { value } else { tower.cast(&value, input.elem_type) };
            tower.replace_input(&input.value, &value);
        }
        let text = tower.reshape(end.output, &[1, end.dim as i64]);
        let symbol = |name: &str| Dim::Param(name.into());
        tower.graph.input.clear();
        for name in ["ids", "mask"] {
            tower.declare_input(name, proto::INT64, &[Dim::Value(1), symbol("tokens")]);
        }
        tower.declare_output("text", &text, &[Dim::Value(1), Dim::Value(end.dim as i64)]);
        tower.tidy();
        tower
    }
}

/// Which values of an image tower are the patches' and the picture's embeddings.
pub(crate) struct ImageEnd<'a> {
    pub patches: &'a str,
    pub layout: Layout,
    pub leading: usize,
    pub global: Option<&'a str>,
    pub dim: usize,
}

/// How patches lie in an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[1, tokens, E]`
    Tokens,
    /// `[1, E, rows, cols]`, or with the channels last.
    Channels { first: bool },
}

/// Which values of a text tower are what.
pub(crate) struct TextEnd<'a> {
    pub ids: &'a str,
    pub mask: Option<&'a str>,
    pub output: &'a str,
    pub pad: i64,
    pub dim: usize,
}

enum Role {
    Ids,
    Mask,
    Zeros,
}

impl TextEnd<'_> {
    fn role(&self, value: &str) -> Role {
        match value {
            _ if value == self.ids => Role::Ids,
            _ if Some(value) == self.mask => Role::Mask,
            _ => Role::Zeros,
        }
    }
}

fn declared(info: &ValueInfoProto) -> Declared {
    let tensor = info.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let size = |dim: &DimProto| match dim.value {
        Some(Dim::Value(size)) => usize::try_from(size).ok().filter(|size| *size > 0),
        _ => None,
    };
    Declared {
        name: info.name.strip_prefix(PREFIX).unwrap_or(&info.name).to_owned(),
        value: info.name.clone(),
        elem_type: tensor.map_or(0, |tensor| tensor.elem_type),
        dims: tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| shape.dim.iter().map(size).collect()),
    }
}

/// What a node reads, its inner graphs included.
fn needed(node: &NodeProto) -> impl Iterator<Item = String> + '_ {
    let inner = node.attribute.iter().filter_map(|attribute| attribute.g.as_deref());
    node.input.iter().cloned().chain(inner.flat_map(|graph| {
        let own: HashSet<&String> = graph
            .node
            .iter()
            .flat_map(|n| &n.output)
            .chain(graph.input.iter().map(|i| &i.name))
            .chain(graph.initializer.iter().map(|t| &t.name))
            .collect();
        let read = graph.node.iter().flat_map(needed).chain(graph.output.iter().map(|output| output.name.clone()));
        read.filter(|name| !own.contains(name)).collect::<Vec<_>>()
    }))
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, kind: 2, ..Default::default() }
}

fn integers(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), kind: 7, ..Default::default() }
}

fn value_info(name: &str, elem_type: i32, dims: &[Dim]) -> ValueInfoProto {
    let dim = dims.iter().map(|value| DimProto { value: Some(value.clone()) }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(ShapeProto { dim }) };
    ValueInfoProto { name: name.into(), kind: Some(TypeProto { tensor: Some(tensor) }) }
}

/// A constant's floats.
fn floats_of(tensor: &TensorProto) -> Option<Vec<f32>> {
    (tensor.data_type == proto::FLOAT).then(|| tensor.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn dims_of(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect()
}
