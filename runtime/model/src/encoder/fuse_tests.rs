use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::*;

use super::super::constants::Constants;
use super::super::embedding::Embedding;
use super::super::layers;
use super::*;
use edge_seg_bundle::BlobSlice;

/// Numbers in -1..1, the same for the same name.
fn numbers(name: &str, len: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(7u64, |state, byte| state * 31 + u64::from(byte)) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn stored(name: &str, dims: &[i64], data_type: i32, raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.into(), data_type, raw_data, ..Default::default() }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    stored(name, dims, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn random(name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, &numbers(name, dims.iter().product::<i64>() as usize))
}

fn node(op: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let input = input.iter().map(|name| name.to_string()).collect();
    NodeProto { op_type: op.into(), input, output: vec![output.into()], name: output.into(), attribute, ..Default::default() }
}

fn integers(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 7, ints: ints.into(), ..Default::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim =
        |&d: &i64| tensor_shape_proto::Dimension { value: Some(tensor_shape_proto::dimension::Value::DimValue(d)), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: FLOAT, shape: Some(shape) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

const TOKENS: i64 = 19;
const WIDTH: i64 = 24;

/// A graph from `x` `[1, TOKENS, WIDTH]` to the last node's value.
fn graph(node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let last = node.last().map(|node| node.output[0].clone()).unwrap_or_default();
    let output = ValueInfoProto { name: last, ..value("", &[]) };
    let output = ValueInfoProto { r#type: None, ..output };
    let graph = GraphProto { node, initializer, input: vec![value("x", &[1, TOKENS, WIDTH])], output: vec![output], ..Default::default() };
    let opset = tract_onnx::pb::OperatorSetIdProto { version: 17, ..Default::default() };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph), ..Default::default() }
}

fn run(model: &ModelProto) -> Vec<f32> {
    let x = Tensor::from_shape(&[1, TOKENS as usize, WIDTH as usize], &numbers("x", (TOKENS * WIDTH) as usize)).unwrap();
    let mut model = model.clone();
    layers::pack(model.graph.as_mut().unwrap(), &Constants::none(), false).unwrap();
    let plan = layers::engine().model_for_proto_model(&model).unwrap().into_optimized().unwrap().into_runnable().unwrap();
    let outputs = plan.run(tvec!(x.into_tvalue())).unwrap();
    outputs[0].to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}

#[test]
fn shapes_that_a_file_notes_of_inner_values_are_not_believed() {
    let nodes = || vec![node("Mul", &["x", "half"], "h", vec![]), node("Add", &["x", "h"], "y", vec![])];
    let plain = graph(nodes(), vec![floats("half", &[], &[0.5])]);
    let mut noted = plain.clone();
    noted.graph.as_mut().unwrap().value_info = vec![value("h", &[1, TOKENS + 1, WIDTH])];
    assert_eq!(run(&noted), run(&plain));
}

/// Asserts that the rewritten graph has exactly these operators and gives the same numbers.
fn assert_fused(model: ModelProto, operators: &[&str]) {
    let mut fused = model.clone();
    fuse(&mut fused);
    let found: Vec<_> = fused.graph.iter().flat_map(|graph| &graph.node).map(|node| node.op_type.as_str()).collect();
    assert_eq!(found, operators);
    let (expected, found) = (run(&model), run(&fused));
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "at {index}: {found} for {expected}");
    }
}

/// `x · w + b`, these operators of `h`, which is that sum, the last one's value `g`, and the sum of `x` and `g`.
fn activated(nodes: Vec<NodeProto>) -> ModelProto {
    let before = vec![node("MatMul", &["x", "w"], "p", vec![]), node("Add", &["p", "b"], "h", vec![])];
    let nodes = [before, nodes, vec![node("Add", &["x", "g"], "y", vec![])]].concat();
    let root = (2.0 / std::f32::consts::PI).sqrt();
    let numbers = [("root", root), ("cubic", 0.044715), ("one", 1.0), ("half", 0.5), ("three", 3.0), ("slope", 1.702), ("two", 2.0)];
    let mut constants = vec![random("w", &[WIDTH, WIDTH]), random("b", &[WIDTH]), floats("root2", &[], &[std::f32::consts::SQRT_2])];
    constants.push(floats("inverse", &[], &[std::f32::consts::FRAC_1_SQRT_2]));
    constants.extend(numbers.map(|(name, value)| floats(name, &[], &[value])));
    graph(nodes, constants)
}

/// Operators as `s = Mul h half; g = ...`.
fn steps(text: &str) -> Vec<NodeProto> {
    let step = |step: &str| {
        let (output, call) = step.split_once(" = ").unwrap();
        let words: Vec<&str> = call.split_whitespace().collect();
        node(words[0], &words[1..], output.trim(), vec![])
    };
    text.split(';').map(step).collect()
}

#[test]
fn a_product_takes_bias_activation_and_residual_along() {
    const TANH: &str = "c = Mul cube cubic; i = Add h c; s = Mul i root; t = Tanh s; o = Add t one; hh = Mul h half; g = Mul hh o";
    // As this project, PyTorch, TensorFlow and optimizers write them.
    for text in [
        "s = Mul h inverse; e = Erf s; o = Add e one; hh = Mul h half; g = Mul hh o".to_owned(),
        "s = Div h root2; e = Erf s; o = Add e one; ho = Mul h o; g = Mul ho half".to_owned(),
        "s = Div h root2; e = Erf s; o = Add one e; oh = Mul half o; g = Mul oh h".to_owned(),
        format!("cube = Pow h three; {TANH}"),
        format!("square = Mul h h; cube = Mul square h; {TANH}"),
        "s = Mul slope h; gate = Sigmoid s; g = Mul gate h".to_owned(),
    ] {
        assert_fused(activated(steps(&text)), &[LINEAR]);
    }
}

#[test]
fn what_only_looks_like_an_activation_stays() {
    let twice = "s = Mul h two; gate = Sigmoid s; g = Mul gate h";
    assert_fused(activated(steps(twice)), &[LINEAR, "Mul", "Sigmoid", "Mul", "Add"]);
    // The gate is read elsewhere too.
    let read = "s = Mul slope h; gate = Sigmoid s; q = Mul gate h; g = Mul gate q";
    assert_fused(activated(steps(read)), &[LINEAR, "Mul", "Sigmoid", "Mul", "Mul", "Add"]);
}

#[test]
fn a_sum_of_another_shape_is_still_that_sum() {
    let nodes = vec![
        node("MatMul", &["x", "w"], "p", vec![]),
        node("ReduceMax", &["x"], "m", vec![integers("axes", &[1, 2])]),
        node("Add", &["p", "m"], "y", vec![]),
    ];
    assert_fused(graph(nodes, vec![random("w", &[WIDTH, 10])]), &["ReduceMax", LINEAR]);
}

#[test]
fn a_value_that_is_read_twice_is_not_swallowed() {
    let nodes = vec![
        node("MatMul", &["x", "w"], "p", vec![]),
        node("Add", &["p", "b"], "h", vec![]),
        node("Sigmoid", &["p"], "g", vec![]),
        node("Mul", &["h", "g"], "y", vec![]),
    ];
    assert_fused(graph(nodes, vec![random("w", &[WIDTH, 40]), random("b", &[40])]), &[LINEAR, "Add", "Sigmoid", "Mul"]);
}

#[test]
fn weights_in_eight_bits_are_expanded() {
    let bytes = numbers("w", (WIDTH * 7) as usize).iter().map(|v| (v * 127.0) as i8 as u8).collect();
    let nodes = vec![node("DequantizeLinear", &["w8", "scales"], "w", vec![integer("axis", 1)]), node("MatMul", &["x", "w"], "y", vec![])];
    assert_fused(graph(nodes, vec![stored("w8", &[WIDTH, 7], 3, bytes), random("scales", &[7])]), &[LINEAR]);
}

#[test]
fn layer_norm_is_one_layer() {
    let eps = AttributeProto { name: "epsilon".into(), r#type: 1, f: 1e-3, ..Default::default() };
    let nodes = vec![node("LayerNormalization", &["x", "w", "b"], "y", vec![integer("axis", -1), eps])];
    assert_fused(graph(nodes, vec![random("w", &[WIDTH]), random("b", &[WIDTH])]), &[LAYER_NORM]);
}

/// Attention of three heads, with `op` between logits and softmax taking a constant of this shape.
fn attention_graph(op: Option<(&str, &[i64])>) -> ModelProto {
    let order = |order: &[i64]| vec![integers("perm", order)];
    let mut nodes = vec![];
    for (part, perm) in [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])] {
        nodes.push(node("MatMul", &["x", &format!("w{part}")], part, vec![]));
        nodes.push(node("Reshape", &[part, "split"], &format!("{part}.split"), vec![]));
        nodes.push(node("Transpose", &[&format!("{part}.split")], &format!("{part}.heads"), order(&perm)));
    }
    nodes.push(node("MatMul", &["q.heads", "k.heads"], "logits", vec![]));
    nodes.extend(op.map(|(op, _)| node(op, &["logits", "mask"], "masked", vec![])));
    nodes.push(node("Softmax", &[if op.is_some() { "masked" } else { "logits" }], "weights", vec![integer("axis", -1)]));
    nodes.push(node("MatMul", &["weights", "v.heads"], "mixed", vec![]));
    nodes.push(node("Transpose", &["mixed"], "tokens", order(&[0, 2, 1, 3])));
    nodes.push(node("Reshape", &["tokens", "join"], "y", vec![]));
    let shape = |name: &str, dims: &[i64]| stored(name, &[dims.len() as i64], 7, dims.iter().flat_map(|d| d.to_le_bytes()).collect());
    let mut constants = vec![shape("split", &[0, 0, 3, WIDTH / 3]), shape("join", &[0, 0, WIDTH])];
    constants.extend(op.map(|(_, dims)| random("mask", dims)));
    constants.extend(["wq", "wk", "wv"].map(|name| random(name, &[WIDTH, WIDTH])));
    graph(nodes, constants)
}

#[test]
fn attention_is_one_layer_with_what_is_added_to_its_logits() {
    let layers = [LINEAR, LINEAR, LINEAR, ATTENTION];
    assert_fused(attention_graph(None), &layers);
    for dims in [&[TOKENS, TOKENS][..], &[1, 1, 1, TOKENS], &[1, 3, TOKENS, TOKENS], &[TOKENS], &[1, 1, TOKENS, 1]] {
        assert_fused(attention_graph(Some(("Add", dims))), &layers);
    }
}

/// [`attention_graph`] whose query and key are turned, the key by the sine of this name.
fn turned_graph(op: Option<(&str, &[i64])>, sine: &str) -> ModelProto {
    let mut model = attention_graph(op);
    let graph = model.graph.as_mut().unwrap();
    let half = WIDTH / 6;
    for (part, sin) in [("q", "sin"), ("k", sine)] {
        let name = |step: &str| format!("{part}.{step}");
        let nodes = [
            node("Reshape", &[part, "split"], &name("by_head"), vec![]),
            node("Slice", &[&name("by_head"), "from", "middle", "last"], &name("first"), vec![]),
            node("Slice", &[&name("by_head"), "middle", "to", "last"], &name("second"), vec![]),
            node("Mul", &[&name("first"), "cos"], &name("a"), vec![]),
            node("Mul", &[&name("second"), sin], &name("b"), vec![]),
            node("Mul", &[&name("second"), "cos"], &name("c"), vec![]),
            node("Mul", &[&name("first"), sin], &name("d"), vec![]),
            node("Sub", &[&name("a"), &name("b")], &name("low"), vec![]),
            node("Add", &[&name("c"), &name("d")], &name("high"), vec![]),
            node("Concat", &[&name("low"), &name("high")], &name("both"), vec![integer("axis", -1)]),
            node("Reshape", &[&name("both"), "join"], &name("turned"), vec![]),
        ];
        let at = graph.node.iter().position(|node| node.output[0] == name("split")).unwrap();
        graph.node[at].input[0] = name("turned");
        graph.node.splice(at..at, nodes);
    }
    let number = |name: &str, n: i64| stored(name, &[1], 7, n.to_le_bytes().into());
    graph.initializer.extend([number("from", 0), number("middle", half), number("to", 2 * half), number("last", 3)]);
    graph.initializer.extend(["cos", "sin", "other"].map(|name| random(name, &[1, TOKENS, 1, half])));
    model
}

#[test]
fn attention_turns_its_queries_and_keys_itself() {
    let layers = [LINEAR, LINEAR, LINEAR, ATTENTION];
    assert_fused(turned_graph(None, "sin"), &layers);
    assert_fused(turned_graph(Some(("Add", &[TOKENS, TOKENS])), "sin"), &layers);
    // Turned by different angles they are left as they are.
    let model = turned_graph(None, "other");
    let mut fused = model.clone();
    fuse(&mut fused);
    let nodes = &fused.graph.as_ref().unwrap().node;
    assert_eq!(nodes.iter().filter(|node| node.op_type == "Concat").count(), 2);
    let apart = run(&model).iter().zip(run(&fused)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart <= 1e-5, "{apart}");
}

#[test]
fn attention_with_another_mask_is_left_to_the_engine() {
    let model = attention_graph(Some(("Mul", &[TOKENS, TOKENS])));
    let mut fused = model.clone();
    fuse(&mut fused);
    assert!(fused.graph.iter().flat_map(|graph| &graph.node).all(|node| node.op_type != ATTENTION));
    assert_eq!(run(&fused).len(), run(&model).len());
}

/// The chain that dynamic quantization writes, with a weight of `data_type` whose zero is `zero`.
fn dynamic(data_type: i32, zero: u8) -> ModelProto {
    let columns = 10;
    let integers = numbers("w", (WIDTH * columns) as usize).iter().map(|v| ((v * 127.0) as i8 as u8).wrapping_add(zero)).collect();
    let quantize =
        NodeProto { output: ["q", "q.scale", "q.zero"].map(String::from).into(), ..node("DynamicQuantizeLinear", &["x"], "q", vec![]) };
    let nodes = vec![
        quantize,
        node("MatMulInteger", &["q", "w", "q.zero", "w.zero"], "sums", vec![]),
        node("Cast", &["sums"], "sums.float", vec![integer("to", FLOAT.into())]),
        node("Mul", &["q.scale", "w.scale"], "scales", vec![]),
        node("Mul", &["sums.float", "scales"], "product", vec![]),
        node("Add", &["product", "b"], "h", vec![]),
        node("Mul", &["h", "slope"], "s", vec![]),
        node("Sigmoid", &["s"], "g", vec![]),
        node("Mul", &["h", "g"], "y", vec![]),
    ];
    let scales: Vec<f32> = numbers("scales", columns as usize).iter().map(|v| v * 0.01).collect();
    let constants = vec![
        stored("w", &[WIDTH, columns], data_type, integers),
        stored("w.zero", &[], data_type, vec![zero]),
        floats("w.scale", &[columns], &scales),
        random("b", &[columns]),
        floats("slope", &[], &[1.702]),
    ];
    graph(nodes, constants)
}

#[test]
fn dynamic_quantization_is_one_layer_near_the_standard_operators() {
    for (data_type, zero) in [(INT8, 0), (UINT8, 128)] {
        let model = dynamic(data_type, zero);
        let mut fused = model.clone();
        fuse(&mut fused);
        let found: Vec<_> = fused.graph.iter().flat_map(|graph| &graph.node).map(|node| node.op_type.as_str()).collect();
        assert_eq!(found, [LINEAR_INT8]);
        let (expected, found) = (run(&model), run(&fused));
        // Half a step of either quantisation, 2 / 255 for these inputs, times the sum of a column's weights; both twice that with 7 bits.
        let bound = 2.0 * 2.0 / 255.0 * 0.01 * 127.0 * WIDTH as f32;
        let largest = expected.iter().zip(&found).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
        assert!(expected.len() == found.len() && largest < bound, "{largest} apart, expected {bound}");
        assert!(expected.iter().any(|v| v.abs() > 4.0 * bound), "the bound means something");
    }
}

#[test]
fn a_weight_whose_zero_is_not_in_the_middle_is_left_to_the_engine() {
    let model = dynamic(UINT8, 100);
    let mut fused = model.clone();
    fuse(&mut fused);
    assert_eq!(fused.graph.as_ref().map(|graph| graph.node.len()), model.graph.as_ref().map(|graph| graph.node.len()));
    assert_eq!(run(&fused).len(), run(&model).len());
}

#[test]
fn rows_of_a_large_table_are_taken_where_it_is() {
    const ROWS: i64 = 1100;
    let cast = |to: i64| vec![AttributeProto { name: "to".into(), r#type: 2, i: to, ..Default::default() }];
    let nodes = |axis: i64| {
        vec![
            node("Mul", &["x", "range"], "m", vec![]),
            node("Cast", &["m"], "ids", cast(7)),
            node("Gather", &["table", "ids"], "y", vec![AttributeProto { name: "axis".into(), r#type: 2, i: axis, ..Default::default() }]),
        ]
    };
    let range = || floats("range", &[], &[1099.0]);
    let width = 1 << 10;
    let table = random("table", &[ROWS, width]);
    assert_fused(graph(nodes(0), vec![table.clone(), range()]), &["Mul", "Cast", EMBEDDING]);
    let bytes = stored("table", &[ROWS, width], INT8, table.raw_data[..(ROWS * width) as usize].to_vec());
    let with_cast = |table: TensorProto| {
        let mut nodes = nodes(0);
        nodes[2] = NodeProto { name: "rows".into(), output: vec!["rows".into()], ..nodes[2].clone() };
        nodes.push(node("Cast", &["rows"], "y", cast(1)));
        graph(nodes, vec![table, range()])
    };
    assert_fused(with_cast(bytes), &["Mul", "Cast", EMBEDDING, "Cast"]);
    let small = stored("table", &[ROWS, 8], INT8, table.raw_data[..(ROWS * 8) as usize].to_vec());
    assert_fused(with_cast(small), &["Mul", "Cast", "Gather", "Cast"]);
}

#[test]
fn a_row_beyond_a_table_is_an_error() {
    let table = Embedding::new(BlobSlice::from(vec![0; 24]), 24, [3, 2], FLOAT).unwrap();
    let rows = |id: i64| table.rows(&[id], &[1, 2], f32::from_le_bytes);
    assert_eq!(rows(-3).unwrap().shape(), [1, 2]);
    for id in [3, -4, i64::MIN, i64::MAX] {
        let error = rows(id).unwrap_err().to_string();
        assert!(error.contains(&format!("expected a row of 3, found {id}")), "{error}");
    }
    assert!(Embedding::new(BlobSlice::from(vec![0; 24]), 24, [3, 3], FLOAT).is_err());
}
