//! What a bundle's graph may ask of the engine. The engine believes what a graph says of itself, so a damaged one is held against these
//! limits before it is handed over, and again while shapes become known, ahead of each step that could fill the memory.

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Cost;
use tract_onnx::tract_hir::internal::*;

use super::constants::Constants;

/// Nodes and constants of a graph, those of its branches included. A ViT of 40 blocks has some 2,000.
const MAX_NODES: usize = 50_000;

/// Branches within branches.
const MAX_DEPTH: usize = 4;

/// What a picture or a text may ask for.
pub(super) struct Work {
    /// Bytes of one value between two operators.
    value_bytes: u64,
    /// Bytes of all such values, one after the other.
    bytes: u64,
    multiplications: i64,
}

/// The logits of 16 heads over 5,330 patches, unfused, have 1.8 GB; ViT-g at 1024 pixels has 20 · 10¹² multiplications.
pub(super) const MOST: Work = Work { value_bytes: 4 << 30, bytes: 1 << 40, multiplications: 200_000_000_000_000 };

/// What the smallest models of tests ask for, and little more.
pub(super) const LITTLE: Work = Work { value_bytes: 1 << 20, bytes: 1 << 24, multiplications: 1 << 24 };

/// Operators that repeat a part of the graph, as often as numbers within it say.
const LOOPS: [&str; 2] = ["Loop", "Scan"];

/// Sizes and counts of an operator, which the engine may count up to one by one. A convolution over a whole picture stays far below.
const MAX_NUMBER: u64 = 1 << 20;

/// The same of its axes, which count from either end.
const MAX_AXIS: u64 = 64;

/// Operators whose axis the engine counts up to without asking whether a shape has it: by their names in a file, and in the engine.
const COUNTED: [&str; 4] = ["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "OneHot"];
const COUNTED_IN_ENGINE: [&str; 3] = ["LayerNorm", "RmsNormalization", "OneHot"];

/// Property of a model: how many axes these count back at most.
const AXES_BACK: &str = "edge-seg.axes-back";

/// Attributes that may hold any number: constants, and ends of a slice that stand for the end of its axis.
const ANY_NUMBER: [&str; 6] = ["value_int", "value_ints", "start", "starts", "end", "ends"];

/// Holds a graph against the limits that can be seen in the file.
///
/// # Errors
/// What the graph has and what is accepted.
pub(super) fn check_graph(graph: &GraphProto, constants: &Constants<'_>) -> TractResult<()> {
    ensure!(!graph.output.is_empty(), "expected a graph with an output, found none");
    let mut nodes = 0;
    check_part(graph, constants, 0, &mut nodes)?;
    // The engine looks these up without asking whether they are there.
    let made = |name: &str| {
        graph.node.iter().any(|node| node.output.iter().any(|output| output == name))
            || graph.initializer.iter().any(|tensor| tensor.name == name)
            || graph.input.iter().any(|input| input.name == name)
    };
    if let Some(output) = graph.output.iter().find(|output| !made(&output.name)) {
        bail!("expected each output to be made by a node, found none that makes {:?}", output.name);
    }
    Ok(())
}

fn check_part(graph: &GraphProto, constants: &Constants<'_>, depth: usize, nodes: &mut usize) -> TractResult<()> {
    ensure!(depth <= MAX_DEPTH, "expected branches at most {MAX_DEPTH} deep");
    *nodes += graph.node.len() + graph.initializer.len();
    ensure!(*nodes <= MAX_NODES, "expected at most {MAX_NODES} nodes and constants");
    graph.initializer.iter().try_for_each(|tensor| check_tensor(tensor, constants))?;
    for node in &graph.node {
        ensure!(!LOOPS.contains(&node.op_type.as_str()), "expected a graph without loops, found {} ({})", node.name, node.op_type);
        for attribute in &node.attribute {
            check_numbers(attribute).with_context(|| format!("{} ({})", node.name, node.op_type))?;
            attribute.t.iter().chain(&attribute.tensors).try_for_each(|tensor| check_tensor(tensor, constants))?;
            attribute.g.iter().chain(&attribute.graphs).try_for_each(|part| check_part(part, constants, depth + 1, nodes))?;
        }
    }
    Ok(())
}

/// Keeps with the model what [`check_shapes`] holds the shapes of some operators against.
pub(super) fn keep_axes(graph: &GraphProto, model: &mut InferenceModel) {
    let counted = graph.node.iter().filter(|node| COUNTED.contains(&node.op_type.as_str()));
    let axes = counted.flat_map(|node| &node.attribute).filter(|attribute| attribute.name == "axis").map(|attribute| attribute.i);
    // An axis that is not told is the last.
    let back = axes.chain([-1]).min().unwrap_or(-1).saturating_neg();
    model.properties.insert(AXES_BACK.into(), rctensor0(back));
}

/// Whether an operator's own numbers are such as the engine can take one by one.
fn check_numbers(attribute: &AttributeProto) -> TractResult<()> {
    let most = match attribute.name.as_str() {
        name if ANY_NUMBER.contains(&name) => return Ok(()),
        "axis" | "axes" => MAX_AXIS,
        _ => MAX_NUMBER,
    };
    let beyond = attribute.ints.iter().chain([&attribute.i]).find(|number| number.unsigned_abs() > most);
    beyond.map_or(Ok(()), |number| bail!("{}: expected a number of -{most} to {most}, found {number}", attribute.name))
}

/// A constant has exactly the numbers that its shape says.
fn check_tensor(tensor: &TensorProto, constants: &Constants<'_>) -> TractResult<()> {
    let name = &tensor.name;
    let outside = tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty();
    ensure!(!outside, "constant {name:?}: expected its numbers in the bundle, found the name of another file");
    let count = tensor.dims.iter().try_fold(1u64, |count, dim| count.checked_mul(u64::try_from(*dim).ok()?));
    let Some(count) = count.filter(|count| *count <= MOST.value_bytes) else {
        bail!("constant {name:?}: expected a shape of at most {} numbers, found {:?}", MOST.value_bytes, tensor.dims);
    };
    let size = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Double | DataType::Int64 | DataType::Uint64) => 8,
        Ok(DataType::Float | DataType::Int32 | DataType::Uint32) => 4,
        Ok(DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16) => 2,
        Ok(DataType::Int8 | DataType::Uint8 | DataType::Bool) => 1,
        // The engine has no such numbers, or counts them by itself.
        _ => return Ok(()),
    };
    let lists =
        [tensor.float_data.len(), tensor.int32_data.len(), tensor.int64_data.len(), tensor.double_data.len(), tensor.uint64_data.len()];
    let found = match constants.len(tensor) {
        0 => lists.into_iter().max().unwrap_or_default() as u64,
        bytes => {
            ensure!(bytes.is_multiple_of(size), "constant {name:?}: expected numbers of {size} bytes, found {bytes} bytes in all");
            (bytes / size) as u64
        }
    };
    ensure!(found == count, "constant {name:?}: expected {count} numbers for its shape {:?}, found {found}", tensor.dims);
    Ok(())
}

/// Follows the shapes from the inputs, node by node, and holds each against the limits before the engine computes a constant of that shape.
///
/// # Errors
/// The node that asks for too much, or that the engine refuses.
pub(super) fn check_shapes(mut model: InferenceModel, symbols: &SymbolValues, most: &Work) -> TractResult<InferenceModel> {
    let back = model.properties.get(AXES_BACK).map_or(Ok(1), |back| back.cast_to_scalar::<i64>())?;
    for node in model.eval_order()? {
        check_axes(&model, node, back).with_context(|| format!("node {}", model.node(node).name))?;
        follow(&mut model, node, symbols, most).with_context(|| format!("node {}", model.node(node).name))?;
    }
    Ok(model)
}

fn check_axes(model: &InferenceModel, node: usize, back: i64) -> TractResult<()> {
    let name = model.node(node).op.name();
    if !COUNTED_IN_ENGINE.contains(&&*name) {
        return Ok(());
    }
    // It puts an axis more into its output.
    let more = i64::from(name == "OneHot");
    let (inputs, outputs) = model.node_facts(node)?;
    let input = inputs.first().and_then(|fact| fact.shape.rank().concretize()).map(|rank| rank + more);
    let ranks = outputs.iter().filter_map(|fact| fact.shape.rank().concretize()).chain(input);
    ranks.min().filter(|rank| *rank < back).map_or(Ok(()), |rank| bail!("expected a value of {back} or more axes, found {rank}"))
}

fn follow(model: &mut InferenceModel, node: usize, symbols: &SymbolValues, most: &Work) -> TractResult<()> {
    let mut op = model.node(node).op.clone();
    let observed = op.observe_outlets(model, model.node(node))?;
    let observed: TVec<_> = observed.into_iter().map(|outlet| model.outlet_fact(outlet)).collect::<TractResult<_>>()?;
    let (inputs, outputs) = model.node_facts(node)?;
    let (_, by_rules, _) = op.infer_facts(inputs.clone(), outputs.clone(), observed.clone())?;
    for fact in &by_rules {
        if let Some(shape) = fact.shape.concretize() {
            value_bytes(&shape, fact.datum_type.concretize(), symbols, most)?;
        }
    }
    let (_, found, _) = op.infer(inputs, outputs, observed)?;
    model.node_mut(node).op = op;
    for (slot, fact) in found.into_iter().enumerate() {
        model.set_outlet_fact(OutletId::new(node, slot), fact)?;
    }
    Ok(())
}

/// Bytes of a value, zero where its shape is not known.
fn value_bytes(shape: &[TDim], datum_type: Option<DatumType>, symbols: &SymbolValues, most: &Work) -> TractResult<u64> {
    let size = datum_type.map_or(1, |datum_type| datum_type.size_of()) as u64;
    let dims: Option<Vec<i64>> = shape.iter().map(|dim| dim.eval_to_i64(symbols).ok()).collect();
    let Some(dims) = dims else { return Ok(0) };
    let bytes = dims.iter().try_fold(size, |bytes, dim| bytes.checked_mul(u64::try_from(*dim).ok()?));
    bytes
        .filter(|bytes| *bytes <= most.value_bytes)
        .with_context(|| format!("expected values of at most {} bytes, found a shape of {dims:?}", most.value_bytes))
}

/// Holds the work of a graph against the limits.
///
/// # Errors
/// The limit, and what the graph asks for.
pub(super) fn check_work(model: &TypedModel, symbols: &SymbolValues, most: &Work) -> TractResult<()> {
    let (mut multiplications, mut bytes) = (0i64, 0u64);
    for node in model.nodes() {
        for fact in node.outputs.iter().map(|output| &output.fact) {
            bytes = bytes.saturating_add(value_bytes(&fact.shape.to_tvec(), Some(fact.datum_type), symbols, most)?);
        }
        for (cost, count) in node.op.cost(&model.node_input_facts(node.id)?)? {
            if let (Cost::FMA(_), Ok(count)) = (cost, count.eval_to_i64(symbols)) {
                multiplications = multiplications.saturating_add(count);
            }
        }
    }
    ensure!(bytes <= most.bytes, "expected at most {} bytes of values between its nodes, found {bytes}", most.bytes);
    let found = multiplications;
    ensure!(found <= most.multiplications, "expected at most {} multiplications, found {found}", most.multiplications);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{ModelProto, NodeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};
    use tract_onnx::pb::{OperatorSetIdProto, TensorShapeProto};

    use super::*;

    fn value(name: &str) -> ValueInfoProto {
        let dim = tensor_shape_proto::Dimension { value: Some(tensor_shape_proto::dimension::Value::DimValue(8)), ..Default::default() };
        let shape = Some(TensorShapeProto { dim: vec![dim] });
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
        let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
        ValueInfoProto { name: name.into(), r#type, ..Default::default() }
    }

    fn node(op: &str, inputs: [&str; 2], output: &str) -> NodeProto {
        let input = inputs.into_iter().filter(|name| !name.is_empty()).map(String::from).collect();
        NodeProto { op_type: op.into(), name: output.into(), input, output: vec![output.into()], ..Default::default() }
    }

    fn numbers(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        TensorProto {
            name: name.into(),
            dims: dims.into(),
            data_type: DataType::Float as i32,
            float_data: values.into(),
            ..Default::default()
        }
    }

    /// (a + b) · c
    fn graph() -> GraphProto {
        GraphProto {
            input: vec![value("a"), value("b")],
            output: vec![value("product")],
            node: vec![node("Add", ["a", "b"], "sum"), node("Mul", ["sum", "c"], "product")],
            initializer: vec![numbers("c", &[2, 1], &[1.0, 2.0])],
            ..Default::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut GraphProto)) -> String {
        let mut graph = graph();
        change(&mut graph);
        format!("{:#}", check_graph(&graph, &Constants::none()).unwrap_err())
    }

    #[test]
    fn what_a_file_shows_to_be_wrong_is_refused_by_name() {
        check_graph(&graph(), &Constants::none()).unwrap();
        assert!(refusal(|graph| graph.output[0].name = "other".into()).contains("none that makes \"other\""));
        assert!(refusal(|graph| graph.node[0].op_type = "Loop".into()).contains("without loops, found sum (Loop)"));
        let found = refusal(|graph| graph.initializer[0].dims = vec![3, 1]);
        assert_eq!(found, "constant \"c\": expected 3 numbers for its shape [3, 1], found 2");
        assert!(refusal(|graph| graph.initializer[0].dims = vec![-1]).contains("[-1]"));
        assert!(refusal(|graph| graph.initializer[0].dims = vec![i64::MAX, 4]).contains("expected a shape of at most"));
        assert!(refusal(|graph| graph.initializer[0].data_location = Some(1)).contains("another file"));
        assert!(refusal(|graph| graph.initializer[0].raw_data = vec![0; 7]).contains("7 bytes in all"));
        let inside = |graph: &mut GraphProto| {
            let t = Some(numbers("inner", &[2], &[1.0]));
            graph.node[0].attribute.push(AttributeProto { name: "value".into(), t, ..Default::default() });
        };
        assert!(refusal(inside).contains("constant \"inner\": expected 2 numbers"));
        let number = |name: &'static str, number: i64| {
            move |graph: &mut GraphProto| {
                graph.node[0].attribute.push(AttributeProto { name: name.into(), ints: vec![1, number], ..Default::default() });
            }
        };
        let found = refusal(number("axes", -65));
        assert_eq!(found, "sum (Add): axes: expected a number of -64 to 64, found -65");
        assert!(refusal(number("pads", 2 << 20)).contains("pads: expected a number of"));
        for (name, plain) in [("axes", -64), ("pads", 9), ("ends", i64::MAX), ("value_ints", i64::MIN)] {
            let mut graph = graph();
            number(name, plain)(&mut graph);
            check_graph(&graph, &Constants::none()).unwrap();
        }
        let nested = |graph: &mut GraphProto| {
            for _ in 0..=MAX_DEPTH {
                let g = Some(std::mem::take(graph));
                let branch = AttributeProto { name: "then_branch".into(), g, ..Default::default() };
                *graph = self::graph();
                graph.node[0].attribute.push(branch);
            }
        };
        assert!(refusal(nested).contains("branches"));
        assert!(refusal(|graph| graph.node = vec![node("Add", ["a", "b"], "sum"); MAX_NODES]).contains("at most 50000 nodes"));
    }

    fn model(graph: GraphProto) -> InferenceModel {
        let opset_import = vec![OperatorSetIdProto { version: 17, ..Default::default() }];
        let proto = ModelProto { graph: Some(graph), opset_import, ..Default::default() };
        tract_onnx::onnx().model_for_proto_model(&proto).unwrap()
    }

    #[test]
    fn values_and_work_beyond_the_limits_are_refused_before_they_are_made() {
        let none = SymbolValues::default();
        let most = Work { value_bytes: 100, bytes: 200, multiplications: 1 << 20 };
        let checked = |value_bytes| check_shapes(model(graph()), &none, &Work { value_bytes, ..most });
        let refused = format!("{:#}", checked(63).unwrap_err());
        assert_eq!(refused, "node product: expected values of at most 63 bytes, found a shape of [2, 8]");
        let typed = checked(64).unwrap().into_typed().unwrap();
        check_work(&typed, &none, &most).unwrap();
        assert!(check_work(&typed, &none, &Work { bytes: 100, ..most }).unwrap_err().to_string().contains("at most 100 bytes"));
        // A constant that the engine would compute at once.
        let mut large = graph();
        let shape =
            TensorProto { data_type: DataType::Int64 as i32, int64_data: vec![5, 7, 1], float_data: vec![], ..numbers("shape", &[3], &[]) };
        large.initializer.push(shape);
        large.node.insert(0, node("ConstantOfShape", ["shape", ""], "zeros"));
        large.node[2].input[1] = "zeros".into();
        let refused = format!("{:#}", check_shapes(model(large), &none, &most).unwrap_err());
        assert_eq!(refused, "node zeros: expected values of at most 100 bytes, found a shape of [5, 7, 1]");
    }

    #[test]
    fn an_axis_that_a_value_does_not_have_is_refused_before_the_engine_counts_to_it() {
        let normed = |back: i64| {
            let mut graph = graph();
            graph.initializer[0] = numbers("c", &[8], &[1.0; 8]);
            graph.node[1].op_type = "LayerNormalization".into();
            graph.node[1].attribute.push(AttributeProto { name: "axis".into(), r#type: 2, i: -1, ..Default::default() });
            let mut model = model(graph.clone());
            // As if another axis stood in it: the engine is not given one that there is not.
            graph.node[1].attribute[0].i = -back;
            keep_axes(&graph, &mut model);
            check_shapes(model, &SymbolValues::default(), &MOST)
        };
        normed(1).unwrap();
        let refused = format!("{:#}", normed(2).unwrap_err());
        assert_eq!(refused, "node product: expected a value of 2 or more axes, found 1");
    }

    #[test]
    fn multiplications_are_counted_for_the_longest_text() {
        let mut graph = graph();
        graph.initializer[0] = numbers("c", &[8, 2], &[1.0; 16]);
        graph.node[1].op_type = "MatMul".into();
        let tokens = |model: &InferenceModel| model.symbols.sym("tokens");
        let model = model(graph);
        let tokens = tokens(&model);
        let fact = f32::fact(&[tokens.to_dim(), 8.to_dim()]);
        let model = model.with_input_fact(0, fact.clone().into()).unwrap().with_input_fact(1, fact.into()).unwrap();
        let longest = SymbolValues::default().with(&tokens, 10);
        let most = Work { value_bytes: 1 << 20, bytes: 1 << 20, multiplications: 159 };
        let typed = check_shapes(model, &longest, &most).unwrap().into_typed().unwrap();
        let refused = check_work(&typed, &longest, &most).unwrap_err().to_string();
        assert_eq!(refused, "expected at most 159 multiplications, found 160");
        check_work(&typed, &longest, &Work { multiplications: 160, ..most }).unwrap();
    }
}
