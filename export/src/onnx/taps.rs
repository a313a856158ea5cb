//! Image encoders that give out what passes between their layers.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::proto::{self, AttributeProto, Dim, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::{Error, Result};

/// One stretch of a tapped encoder's patch embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapPoint {
    /// The value's name in the graph.
    pub name: String,
    /// How many numbers it has for a patch.
    pub width: usize,
}

/// Changes an image encoder that this crate wrote so that its output `patches` holds, one after the other for each patch, the stream after
/// every block on the way to them and then the patch embeddings themselves; `global` is the same of the first patch, and means nothing.
///
/// `width` is that of the stream, `embedding_dim` that of the embeddings. The second answer says which stretch is which.
///
/// # Errors
/// [`Error::File`] if `bytes` is no such encoder.
pub fn with_layers(place: &str, bytes: &[u8], width: usize, embedding_dim: usize) -> Result<(Vec<u8>, Vec<TapPoint>)> {
    let mut model = ModelProto::decode(bytes).map_err(|e| Error::file(place, "file", "an ONNX file", e.to_string()))?;
    let graph = model.graph.as_mut().ok_or_else(|| Error::file(place, "graph", "one", "none"))?;
    let embedded = graph.node.iter().find(|n| n.op_type == "Identity" && n.output == ["patches"]).map(|n| n.input[0].clone());
    // A last block may run for the class token alone, for the picture's own embedding.
    let on_the_way = embedded.as_deref().map(|end| before(graph, end)).unwrap_or_default();
    let blocks: Vec<String> = (0..)
        .map(|n| format!("image.blocks.{n}.mlp.sum"))
        .take_while(|name| graph.node.iter().any(|node| node.output.contains(name)))
        .filter(|name| on_the_way.contains(name.as_str()))
        .collect();
    let (Some(embedded), false) = (embedded, blocks.is_empty()) else {
        return Err(Error::file(place, "nodes", "image.blocks.0.mlp.sum and patches, as this exporter names them", "others"));
    };
    let constant = |name: &str, value: i64| TensorProto {
        dims: vec![1],
        data_type: proto::INT64,
        name: name.into(),
        raw_data: value.to_le_bytes().to_vec(),
        ..Default::default()
    };
    // Tokens before the patches: the class token, registers.
    let class = graph.node.iter().any(|node| node.output == ["image.tokens"]);
    let registers = graph.initializer.iter().find(|tensor| tensor.name == "image.registers").map_or(0, |tensor| tensor.dims[1]);
    let prefix = i64::from(class) + registers;
    let constants = [("taps.0", 0), ("taps.1", 1), ("taps.prefix", prefix), ("taps.end", i64::MAX)];
    graph.initializer.extend(constants.map(|(name, value)| constant(name, value)));
    graph.node.retain(|node| !node.output.iter().any(|o| o == "patches" || o == "global"));
    let joined: Vec<&str> = blocks.iter().map(String::as_str).collect();
    push(graph, "taps.stream", "Concat", &joined, Some(-1));
    push(graph, "taps.patches", "Slice", &["taps.stream", "taps.prefix", "taps.end", "taps.1"], None);
    push(graph, "patches", "Concat", &["taps.patches", &embedded], Some(-1));
    push(graph, "taps.first", "Slice", &["patches", "taps.0", "taps.1", "taps.1"], None);
    let whole = blocks.len() * width + embedding_dim;
    let shape = TensorProto {
        dims: vec![2],
        data_type: proto::INT64,
        name: "taps.shape".into(),
        raw_data: [1i64, whole as i64].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    };
    graph.initializer.push(shape);
    push(graph, "global", "Reshape", &["taps.first", "taps.shape"], None);
    for output in &mut graph.output {
        let dims = output.kind.as_mut().and_then(|k| k.tensor.as_mut()).and_then(|t| t.shape.as_mut()).map(|s| &mut s.dim);
        if let Some(last) = dims.and_then(|d| d.last_mut()) {
            last.value = Some(Dim::Value(whole as i64));
        }
    }
    let points = blocks.into_iter().map(|name| TapPoint { name, width }).chain([TapPoint { name: "patches".into(), width: embedding_dim }]);
    Ok((model.encode_to_vec(), points.collect()))
}

/// The values that `end` is computed from.
fn before(graph: &GraphProto, end: &str) -> HashSet<String> {
    let makers: HashMap<&str, &NodeProto> =
        graph.node.iter().flat_map(|node| node.output.iter().map(move |o| (o.as_str(), node))).collect();
    let (mut found, mut open) = (HashSet::new(), vec![end]);
    while let Some(name) = open.pop() {
        if found.insert(name.to_owned()) {
            open.extend(makers.get(name).into_iter().flat_map(|node| node.input.iter().map(String::as_str)));
        }
    }
    found
}

fn push(graph: &mut GraphProto, name: &str, op_type: &str, inputs: &[&str], axis: Option<i64>) {
    let attribute = axis.map(|i| AttributeProto { name: "axis".into(), i, kind: 2, ..Default::default() });
    graph.node.push(NodeProto {
        op_type: op_type.into(),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: vec![name.into()],
        name: name.into(),
        attribute: attribute.into_iter().collect(),
        ..Default::default()
    });
}
