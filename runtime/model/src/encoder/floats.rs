//! Rewrites products in integers as products of floats with the same weights, for engines that have no fast ones.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

use super::fuse;

/// Replaces `DynamicQuantizeLinear`, `MatMulInteger`, `Cast` and `Mul` by both scales with `DequantizeLinear` of the weights and `MatMul`.
/// Products that are written otherwise stay as they are.
pub(super) fn in_floats(model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else { return };
    let nodes = std::mem::take(&mut graph.node);
    let constants: HashSet<&str> = graph.initializer.iter().map(|constant| constant.name.as_str()).collect();
    let made: HashMap<&str, &NodeProto> =
        nodes.iter().flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node))).collect();
    let by = |value: &str, op: &str| made.get(value).copied().filter(|node| node.op_type == op);
    let mut written = HashSet::new();
    let rewritten: Vec<NodeProto> = nodes
        .iter()
        .flat_map(|node| {
            let product = (node.op_type == "Mul").then(|| product(node, &by, &constants)).flatten();
            let Some(Product { rows, weight, scales }) = product else { return vec![node.clone()] };
            let expanded = format!("{weight}.floats");
            let matmul = make("MatMul", [rows, &expanded], &node.output[0]);
            match written.insert(weight) {
                true => vec![NodeProto { attribute: vec![axis(1)], ..make("DequantizeLinear", [weight, scales], &expanded) }, matmul],
                false => vec![matmul],
            }
        })
        .collect();
    graph.node = rewritten;
    fuse::drop_unused(graph);
}

/// Rows of floats, and the integers and scales of the weights that they are multiplied with.
struct Product<'a> {
    rows: &'a str,
    weight: &'a str,
    scales: &'a str,
}

/// What `sums · (row scale · scales)` stands for.
fn product<'a>(node: &'a NodeProto, by: &impl Fn(&str, &str) -> Option<&'a NodeProto>, constants: &HashSet<&str>) -> Option<Product<'a>> {
    let [a, b] = node.input.as_slice() else { return None };
    let (cast, both) = by(a, "Cast").zip(by(b, "Mul")).or_else(|| by(b, "Cast").zip(by(a, "Mul")))?;
    let sums = by(cast.input.first()?, "MatMulInteger")?;
    let [rows, weight, zero] = sums.input.as_slice() else { return None };
    let quantizer = by(rows, "DynamicQuantizeLinear").filter(|quantizer| quantizer.output.get(2) == Some(zero))?;
    let row_scale = quantizer.output.get(1)?;
    let scales = match both.input.as_slice() {
        [first, scales] if first == row_scale => scales,
        [scales, last] if last == row_scale => scales,
        _ => return None,
    };
    let known = constants.contains(weight.as_str()) && constants.contains(scales.as_str());
    known.then_some(Product { rows: quantizer.input.first()?, weight, scales })
}

fn make(op: &str, inputs: [&str; 2], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.map(Into::into).into(),
        output: vec![output.into()],
        name: output.into(),
        ..Default::default()
    }
}

fn axis(i: i64) -> AttributeProto {
    AttributeProto { name: "axis".into(), r#type: 2, i, ..Default::default() }
}
