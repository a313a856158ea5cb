//! Layers as operators of the engine, computed by `edge_seg_kernels`.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use edge_seg_kernels::{Activation, Bias, Linear, LinearF16, LinearInt8, RowsF16, RowsInt8, Workspace, WorkspaceInt8, kernels};
use rayon::prelude::*;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Cost;
use tract_onnx::tract_hir::internal::*;

use super::constants::Constants;
use super::embedding::Embedding;
use super::names::{ATTENTION, EMBEDDING, FLOAT, FLOAT16, INT8, LAYER_NORM, LINEAR, LINEAR_INT8, UINT8, element};
use edge_seg_bundle::BlobSlice;

/// Names of the layers' operators in a rewritten graph.
pub(super) const LAYERS: [&str; 5] = [LINEAR, LINEAR_INT8, LAYER_NORM, ATTENTION, EMBEDDING];

/// An engine that knows the layers that [`pack`] has packed.
pub(super) fn engine() -> tract_onnx::Onnx {
    // Tools note the shapes of inner values for sizes of their own: onnxruntime's quantizer leaves symbols that fit none that we fix.
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    for name in LAYERS {
        onnx.op_register.insert(name, build);
    }
    onnx
}

/// A layer; clones share the weights.
#[derive(Clone)]
struct Layer(Arc<Kind>);

enum Kind {
    /// Inputs: `x` `[.., inputs]`, perhaps a value to add `[.., outputs]`. Output: `[.., outputs]`.
    Linear { layer: Linear, activation: Activation },
    /// As `Linear`, in 16-bit floats.
    LinearHalf { layer: LinearF16, activation: Activation },
    /// As `Linear`.
    LinearInt8 { layer: LinearInt8, activation: Activation },
    /// Input and output: `[.., dim]`.
    LayerNorm { weight: Vec<f32>, bias: Vec<f32>, eps: f32 },
    /// Inputs: query, key, value `[batch, tokens, heads · head_dim]`, perhaps what is added to the logits
    /// `[batch, heads, queries, keys]`; with `turned` cosine and sine of the tokens' angles `[1, tokens, 1, head_dim / 2]`, by which the halves of
    /// each head of query and key are turned against one another. Output: as the query.
    Attention { heads: usize, head_dim: usize, int8: bool, turned: bool },
}

/// Packs the layers of a rewritten graph, straight from the file, into what [`engine`]'s operators take on this thread. What else the graph
/// needs of the file goes back into it. With `half`, products of floats are computed in 16 bits.
pub(super) fn pack(graph: &mut GraphProto, constants: &Constants<'_>, half: bool) -> TractResult<()> {
    forget();
    constants.restore(graph)?;
    for node in graph.node.iter_mut().filter(|node| LAYERS.contains(&node.op_type.as_str())) {
        let kind = match node.op_type.as_str() {
            LINEAR => linear(node, constants, half),
            LINEAR_INT8 => linear_int8(node, constants),
            LAYER_NORM => layer_norm(node, constants),
            EMBEDDING => embedding(node, constants),
            _ => attention(node),
        };
        let operator = kind.with_context(|| format!("Packing node {}", node.name))?;
        let index = PACKED.with_borrow_mut(|packed| {
            packed.push(Some(operator));
            packed.len() - 1
        });
        node.attribute = vec![AttributeProto { name: PLACE.into(), r#type: 2, i: index as i64, ..Default::default() }];
    }
    Ok(())
}

thread_local! {
    /// Operators between [`pack`] and [`build`]: the engine's builders are given nothing but the graph.
    static PACKED: RefCell<Vec<Option<Box<dyn InferenceOp>>>> = const { RefCell::new(Vec::new()) };
}

/// The attribute that says where in [`PACKED`] a layer is.
const PLACE: &str = "packed";

/// Forgets the layers that were packed and not built.
pub(super) fn forget() {
    PACKED.with_borrow_mut(Vec::clear);
}

fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let place = usize::try_from(node.get_attr::<i64>(PLACE)?)?;
    let operator = PACKED.with_borrow_mut(|packed| packed.get_mut(place).and_then(Option::take));
    Ok((operator.context("expected a packed layer")?, vec![]))
}

fn operator(kind: Kind) -> TractResult<Box<dyn InferenceOp>> {
    Ok(expand(Layer(Arc::new(kind))))
}

fn linear(node: &NodeProto, constants: &Constants<'_>, half: bool) -> TractResult<Box<dyn InferenceOp>> {
    let weight = tensor(node, "weight").context("expected a weight")?;
    let [inputs, outputs] = matrix(weight)?;
    let scales = tensor(node, "scales").map(|scales| floats(scales, constants)).transpose()?;
    ensure!(scales.as_ref().is_none_or(|scales| scales.len() == outputs), "expected {outputs} scales");
    let scale = |rows: &mut [f32]| {
        for scales in scales.iter() {
            rows.chunks_exact_mut(outputs).for_each(|row| row.iter_mut().zip(scales).for_each(|(v, s)| *v *= s));
        }
    };
    let bias = tensor(node, "bias").map(|bias| floats(bias, constants)).transpose()?;
    ensure!(bias.as_ref().is_none_or(|b| b.len() == outputs), "expected {outputs} numbers in the bias");
    let (bias, activation) = (bias.as_deref(), activation(node)?);
    if half {
        let mut values = floats(weight, constants)?;
        scale(&mut values);
        return operator(Kind::LinearHalf { layer: kernels().pack_linear_f16(&values, inputs, outputs, bias), activation });
    }
    let mut layer = kernels().empty_linear(inputs, outputs, bias);
    for_rows(weight, constants, |first, rows| {
        scale(rows);
        layer.set_rows(first, rows);
    })?;
    operator(Kind::Linear { layer, activation })
}

fn linear_int8(node: &NodeProto, constants: &Constants<'_>) -> TractResult<Box<dyn InferenceOp>> {
    let weight = tensor(node, "weight").context("expected a weight")?;
    let [inputs, outputs] = matrix(weight)?;
    let mut scales = floats(tensor(node, "scales").context("expected scales")?, constants)?;
    if let [scale] = scales[..] {
        scales.resize(outputs, scale);
    }
    let bias = tensor(node, "bias").map(|bias| floats(bias, constants)).transpose()?;
    ensure!(
        inputs <= LinearInt8::MAX_INPUTS && scales.len() == outputs && bias.as_ref().is_none_or(|b| b.len() == outputs),
        "expected at most {} inputs and {outputs} scales and numbers in the bias",
        LinearInt8::MAX_INPUTS
    );
    let mut layer = kernels().empty_linear_int8(inputs, outputs, &scales, bias.as_deref());
    // Unsigned bytes have their zero at 128.
    let zero = if weight.data_type == UINT8 { 128 } else { 0 };
    let raw = constants.len(weight);
    let count = if raw > 0 { raw } else { weight.int32_data.len() };
    ensure!(count == inputs * outputs, "expected {inputs} x {outputs} integers, found {count}");
    let mut integers: Vec<i8> = weight.int32_data.iter().map(|byte| (*byte as u8).wrapping_sub(zero) as i8).collect();
    if raw == 0 {
        layer.set_rows(0, &integers);
    }
    constants.rows(weight, outputs, |first, bytes| {
        integers.clear();
        integers.extend(bytes.iter().map(|byte| byte.wrapping_sub(zero) as i8));
        layer.set_rows(first, &integers);
    })?;
    operator(Kind::LinearInt8 { layer, activation: activation(node)? })
}

fn embedding(node: &NodeProto, constants: &Constants<'_>) -> TractResult<Box<dyn InferenceOp>> {
    let table = tensor(node, "table").context("expected a table")?;
    let bytes = constants.keep(table).unwrap_or_else(|| BlobSlice::from(table.raw_data.clone()));
    Ok(expand(Embedding::new(bytes, constants.len(table), matrix(table)?, table.data_type)?))
}

fn activation(node: &NodeProto) -> TractResult<Activation> {
    Ok(match node.get_attr_opt::<i64>("activation")? {
        Some(n) if n == Activation::Gelu as i64 => Activation::Gelu,
        Some(n) if n == Activation::GeluTanh as i64 => Activation::GeluTanh,
        Some(n) if n == Activation::QuickGelu as i64 => Activation::QuickGelu,
        _ => Activation::None,
    })
}

fn layer_norm(node: &NodeProto, constants: &Constants<'_>) -> TractResult<Box<dyn InferenceOp>> {
    let vector = |name| floats(tensor(node, name).context("expected a vector")?, constants);
    let (weight, bias) = (vector("weight")?, vector("bias")?);
    ensure!(!weight.is_empty() && weight.len() == bias.len(), "expected a weight and a bias of equal lengths");
    operator(Kind::LayerNorm { weight, bias, eps: node.get_attr("epsilon")? })
}

fn attention(node: &NodeProto) -> TractResult<Box<dyn InferenceOp>> {
    let number = |name: &str| Ok::<_, TractError>(usize::try_from(node.get_attr::<i64>(name)?)?);
    let [int8, turned] = ["int8", "turned"].map(|name| node.get_attr_opt::<i64>(name));
    operator(Kind::Attention { heads: number("heads")?, head_dim: number("head_dim")?, int8: int8?.is_some(), turned: turned?.is_some() })
}

fn tensor<'a>(node: &'a NodeProto, name: &str) -> Option<&'a TensorProto> {
    node.attribute.iter().find(|a| a.name == name).and_then(|a| a.t.as_ref())
}

fn matrix(tensor: &TensorProto) -> TractResult<[usize; 2]> {
    let dims: TVec<usize> = tensor.dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>()?;
    match dims[..] {
        [inputs, outputs] if inputs > 0 && outputs > 0 && inputs.checked_mul(outputs).is_some() => Ok([inputs, outputs]),
        _ => bail!("expected a matrix, found {dims:?}"),
    }
}

/// A constant's numbers as f32.
fn floats(tensor: &TensorProto, constants: &Constants<'_>) -> TractResult<Vec<f32>> {
    let mut values = Vec::new();
    match (tensor.data_type, constants.len(tensor)) {
        (FLOAT, 0) => values = tensor.float_data.clone(),
        (FLOAT16, 0) => values.extend(tensor.int32_data.iter().map(|bits| half::f16::from_bits(*bits as u16).to_f32())),
        (INT8 | UINT8, 0) => values.extend(tensor.int32_data.iter().map(|v| *v as f32)),
        (data_type, _) => as_floats(data_type, &constants.raw(tensor)?, &mut values)?,
    }
    let count = tensor.dims.iter().try_fold(1i64, |count, dim| count.checked_mul(*dim));
    ensure!(count == i64::try_from(values.len()).ok(), "expected numbers for {:?}, found {}", tensor.dims, values.len());
    Ok(values)
}

fn as_floats(data_type: i32, raw: &[u8], values: &mut Vec<f32>) -> TractResult<()> {
    match data_type {
        FLOAT => values.extend(raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
        FLOAT16 => values.extend(raw.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32())),
        INT8 => values.extend(raw.iter().map(|b| f32::from(*b as i8))),
        UINT8 => values.extend(raw.iter().map(|b| f32::from(*b))),
        other => bail!("expected numbers of 8, 16 or 32 bits, found ONNX's type {other}"),
    }
    Ok(())
}

/// Gives `take` a matrix as f32, some rows at a time, with the first one's number.
fn for_rows(tensor: &TensorProto, constants: &Constants<'_>, mut take: impl FnMut(usize, &mut [f32])) -> TractResult<()> {
    let ([rows, width], len) = (matrix(tensor)?, constants.len(tensor));
    let Some((_, size)) = element(tensor.data_type).filter(|_| len > 0) else {
        take(0, &mut floats(tensor, constants)?);
        return Ok(());
    };
    ensure!(rows.checked_mul(width * size) == Some(len), "expected numbers for {:?}, found {len} bytes", tensor.dims);
    let mut values = Vec::new();
    constants.rows(tensor, width * size, |first, bytes| {
        values.clear();
        // Of the types with a size none is unknown.
        let _ = as_floats(tensor.data_type, bytes, &mut values);
        take(first, &mut values);
    })?;
    Ok(())
}

impl Layer {
    fn label(&self) -> &'static str {
        match &*self.0 {
            Kind::Linear { .. } | Kind::LinearHalf { .. } => LINEAR,
            Kind::LinearInt8 { .. } => LINEAR_INT8,
            Kind::LayerNorm { .. } => LAYER_NORM,
            Kind::Attention { .. } => ATTENTION,
        }
    }

    /// Numbers in the output's rows, where they are not the input's.
    fn outputs(&self) -> Option<usize> {
        match &*self.0 {
            Kind::Linear { layer, .. } => Some(layer.outputs()),
            Kind::LinearHalf { layer, .. } => Some(layer.outputs()),
            Kind::LinearInt8 { layer, .. } => Some(layer.outputs()),
            _ => None,
        }
    }

    fn output_shape(&self, input: &[TDim]) -> TVec<TDim> {
        let mut shape: TVec<TDim> = input.into();
        if let (Some(last), Some(outputs)) = (shape.last_mut(), self.outputs()) {
            *last = outputs.to_dim();
        }
        shape
    }

    /// Numbers in the input's rows.
    fn inputs(&self) -> usize {
        match &*self.0 {
            Kind::Linear { layer, .. } => layer.inputs(),
            Kind::LinearHalf { layer, .. } => layer.inputs(),
            Kind::LinearInt8 { layer, .. } => layer.inputs(),
            Kind::LayerNorm { weight, .. } => weight.len(),
            Kind::Attention { heads, head_dim, .. } => heads * head_dim,
        }
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.label(), self.inputs())
    }
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Layer {}

impl Expansion for Layer {
    fn name(&self) -> StaticName {
        self.label().into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        inputs.iter().try_for_each(|input| s.equals(&input.datum_type, f32::datum_type()))?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        let added = self.outputs().is_some().then(|| inputs.get(1)).flatten();
        s.given(&inputs[0].shape, move |s, shape| {
            let shape = self.output_shape(&shape);
            match added {
                None => s.equals(&outputs[0].shape, shape),
                Some(added) => s.given(&added.shape, move |s, added| {
                    let both = tract_onnx::tract_core::broadcast::multi_broadcast(&[&shape, &added])?;
                    s.equals(&outputs[0].shape, both)
                }),
            }
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        let last = fact.shape.last().context("expected rows, found one number")?;
        ensure!(*last == self.inputs().to_dim(), "{prefix}: expected rows of {} numbers, found {last}", self.inputs());
        if let (Some(_), [x, added]) = (self.outputs(), inputs)
            && self.output_shape(&fact.shape.to_tvec()) != model.outlet_fact(*added)?.shape.to_tvec()
        {
            let product = model.wire_node(format!("{prefix}.product"), self.clone(), &[*x])?;
            let sum = tract_onnx::tract_core::ops::math::add();
            return tract_onnx::tract_hir::ops::logic::wire_with_rank_broadcast(prefix, model, sum, &[product[0], *added]);
        }
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Layer {
    fn name(&self) -> StaticName {
        self.label().into()
    }

    op_as_typed_op!();
}

/// Whether it is attention that turns queries and keys itself.
pub(super) fn turns(operator: &dyn TypedOp) -> bool {
    operator.downcast_ref::<Layer>().is_some_and(|layer| matches!(*layer.0, Kind::Attention { turned: true, .. }))
}

impl EvalOp for Layer {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = inputs.first().context("expected an input")?;
        let mut shape: TVec<usize> = x.shape().into();
        let width = shape.last().copied().unwrap_or_default();
        ensure!(width == self.inputs(), "expected rows of {} numbers, found {width}", self.inputs());
        if let (Some(last), Some(outputs)) = (shape.last_mut(), self.outputs()) {
            *last = outputs;
        }
        let slices = inputs
            .iter()
            .map(|input| input.to_plain_array_view::<f32>()?.to_slice().context("expected numbers in order"))
            .collect::<TractResult<TVec<&[f32]>>>()?;
        let mut out = Tensor::zero::<f32>(&shape)?;
        let mut view = out.to_plain_array_view_mut::<f32>()?;
        let shapes: TVec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        self.compute(&slices, &shapes, view.as_slice_mut().context("expected capacity for numbers in order")?)?;
        Ok(tvec!(out.into_tvalue()))
    }
}

impl Layer {
    fn compute(&self, inputs: &[&[f32]], shapes: &[&[usize]], out: &mut [f32]) -> TractResult<()> {
        let set = kernels();
        let width = self.inputs();
        match (&*self.0, inputs) {
            (Kind::Linear { layer, activation }, [x, added @ ..]) => {
                let added = added.first().copied();
                ensure!(added.is_none_or(|added| added.len() == out.len()), "expected a sum of equal shapes");
                let rows = part_rows(out.len() / layer.outputs(), set.tile_rows(), set.row_bytes());
                for_parts(out, rows * layer.outputs(), |index, out, memory: &mut Workspace| {
                    let x = &x[index * rows * width..][..out.len() / layer.outputs() * width];
                    let added = added.map(|added| &added[index * rows * layer.outputs()..][..out.len()]);
                    set.linear(layer, x, *activation, added, out, memory);
                });
            }
            (Kind::LinearHalf { layer, activation }, [x, added @ ..]) => {
                let added = added.first().copied();
                ensure!(added.is_none_or(|added| added.len() == out.len()), "expected a sum of equal shapes");
                let rows = part_rows(out.len() / layer.outputs(), set.tile_rows_f16(), set.row_bytes());
                for_parts(out, rows * layer.outputs(), |index, out, memory: &mut RowsF16| {
                    let x = &x[index * rows * width..][..out.len() / layer.outputs() * width];
                    let added = added.map(|added| &added[index * rows * layer.outputs()..][..out.len()]);
                    set.round_rows_f16(x, width, memory);
                    set.linear_f16(layer, memory, *activation, added, out);
                });
            }
            (Kind::LinearInt8 { layer, activation }, [x, added @ ..]) => {
                let added = added.first().copied();
                ensure!(added.is_none_or(|added| added.len() == out.len()), "expected a sum of equal shapes");
                let rows = part_rows(out.len() / layer.outputs(), set.part_rows_int8(), set.row_bytes_int8());
                for_parts(out, rows * layer.outputs(), |index, out, memory: &mut RowsInt8| {
                    let x = &x[index * rows * width..][..out.len() / layer.outputs() * width];
                    let added = added.map(|added| &added[index * rows * layer.outputs()..][..out.len()]);
                    set.quantize_rows(x, width, memory);
                    set.linear_int8(layer, memory, *activation, added, out);
                });
            }
            (Kind::LayerNorm { weight, bias, eps }, [x]) => {
                let part = part_rows(out.len() / width, 1, 4 * width) * width;
                for_parts(out, part, |index, out, _: &mut ()| set.layer_norm(&x[index * part..][..out.len()], weight, bias, *eps, out));
            }
            (Kind::Attention { heads, head_dim, int8, turned }, [query, key, value, added @ ..]) => {
                let shape = shapes[0];
                let (added, angles) = match added {
                    [added @ .., cos, sin] if *turned => (added, Some(Angles { cos, sin, half: head_dim / 2 })),
                    _ => (added, None),
                };
                ensure!(*turned == angles.is_some(), "expected cosine and sine of the tokens' angles");
                ensure!(shape.len() == 3 && key.len() == value.len(), "expected query, key and value as [batch, tokens, width]");
                let batch = shape[0].max(1);
                ensure!(key.len().is_multiple_of(batch * width), "expected as many keys for each picture");
                let (queries, keys) = (query.len() / batch, key.len() / batch);
                let tokens = keys / width;
                ensure!(
                    angles.as_ref().is_none_or(|angles| queries == keys && angles.are_for(tokens)),
                    "expected angles of {tokens} tokens"
                );
                for n in 0..batch {
                    let counts = [batch, *heads, queries / width, tokens];
                    let bias = added.first().map(|values| bias(values, shapes[3], counts, n)).transpose()?.flatten();
                    let (query, out) = (&query[n * queries..][..queries], &mut out[n * queries..][..queries]);
                    let (key, value) = (&key[n * keys..][..keys], &value[n * keys..][..keys]);
                    let mut own = Vec::new();
                    let key = angles.as_ref().map_or(key, |angles| angles.turn(key, 0, width, &mut own));
                    if *int8 {
                        let (packed, part) = (set.pack_keys_int8(key, value, *heads, *head_dim), set.queries_int8() * width);
                        for_parts(out, part, |index, out, (memory, own): &mut (WorkspaceInt8, Vec<f32>)| {
                            let (row, query) = (index * part / width, &query[index * part..][..out.len()]);
                            let query = angles.as_ref().map_or(query, |angles| angles.turn(query, row, width, own));
                            set.attend_int8(&packed, query, bias.map(|bias| from_row(bias, row)), out, memory);
                        });
                    } else {
                        let (packed, part) = (set.pack_keys(key, value, *heads, *head_dim), set.queries() * width);
                        for_parts(out, part, |index, out, (memory, own): &mut (Workspace, Vec<f32>)| {
                            let (row, query) = (index * part / width, &query[index * part..][..out.len()]);
                            let query = angles.as_ref().map_or(query, |angles| angles.turn(query, row, width, own));
                            set.attend(&packed, query, bias.map(|bias| from_row(bias, row)), out, memory);
                        });
                    }
                }
            }
            _ => bail!("{}: expected other inputs, found {}", self.label(), inputs.len()),
        }
        Ok(())
    }
}

/// Cosine and sine of the angles that tokens are turned by, `half` of each a token.
struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
}

impl Angles<'_> {
    fn are_for(&self, tokens: usize) -> bool {
        self.half > 0 && self.cos.len() == tokens * self.half && self.sin.len() == self.cos.len()
    }

    /// Rows of queries or keys from the token `first` on, turned, in `memory`.
    fn turn<'m>(&self, rows: &[f32], first: usize, width: usize, memory: &'m mut Vec<f32>) -> &'m [f32] {
        memory.clear();
        memory.resize(rows.len(), 0.0);
        let half = self.half;
        let angles = self.cos.chunks_exact(half).zip(self.sin.chunks_exact(half)).skip(first);
        for ((row, out), (cos, sin)) in rows.chunks_exact(width).zip(memory.chunks_exact_mut(width)).zip(angles) {
            for (head, out) in row.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
                let ((a, b), (left, right)) = (head.split_at(half), out.split_at_mut(half));
                for n in 0..half {
                    left[n] = a[n] * cos[n] - b[n] * sin[n];
                    right[n] = b[n] * cos[n] + a[n] * sin[n];
                }
            }
        }
        memory
    }
}

/// What a picture or sentence of a batch adds to its logits; `shape` is broadcast to `[batch, heads, queries, keys]`.
fn bias<'a>(values: &'a [f32], shape: &[usize], counts: [usize; 4], n: usize) -> TractResult<Option<Bias<'a>>> {
    let padded: TVec<usize> = std::iter::repeat_n(1, 4usize.saturating_sub(shape.len())).chain(shape.iter().copied()).collect();
    let fits = padded.len() == 4 && padded.iter().zip(counts).all(|(found, count)| *found == 1 || *found == count);
    ensure!(fits, "expected what broadcasts to the logits {counts:?}, found {shape:?}");
    if padded[3] < counts[3] {
        return Ok(None); // The same for all keys changes no softmax.
    }
    let step = |axis: usize| if padded[axis] > 1 { padded[axis + 1..].iter().product() } else { 0 };
    Ok(Some(Bias { values: &values[n * step(0)..], head_step: step(1), query_step: step(2) }))
}

/// The same for the queries from some row on.
fn from_row(bias: Bias<'_>, row: usize) -> Bias<'_> {
    Bias { values: &bias.values[row * bias.query_step..], ..bias }
}

/// Rows of a part, a multiple of `block`: parts of about the same size, as many for each thread, and small enough for the caches.
fn part_rows(rows: usize, block: usize, row_bytes: usize) -> usize {
    const MOST_BYTES: usize = 1 << 19;
    const LEAST: usize = 48;
    let most = (MOST_BYTES / row_bytes.max(1)).max(LEAST);
    let threads = match multithread::current_tract_executor() {
        multithread::Executor::SingleThread => 1,
        multithread::Executor::MultiThread(pool) => pool.current_num_threads(),
        multithread::Executor::RayonGlobal => rayon::current_num_threads(),
    };
    let parts = rows.div_ceil(most).next_multiple_of(threads.max(1));
    rows.div_ceil(parts.max(1)).next_multiple_of(block).max(block)
}

/// Works on parts of `out`, on the threads that the engine was given, with memory that a thread uses again.
fn for_parts<M: Default>(out: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32], &mut M) + Sync + Send) {
    let parallel = |out: &mut [f32]| {
        out.par_chunks_mut(len).enumerate().for_each_init(M::default, |memory, (index, out)| work(index, out, memory));
    };
    match multithread::current_tract_executor() {
        multithread::Executor::SingleThread => {
            let mut memory = M::default();
            out.chunks_mut(len).enumerate().for_each(|(index, out)| work(index, out, &mut memory));
        }
        multithread::Executor::MultiThread(pool) => pool.install(|| parallel(out)),
        multithread::Executor::RayonGlobal => parallel(out),
    }
}

impl TypedOp for Layer {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(self.output_shape(&inputs[0].shape.to_tvec()))))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let numbers = |fact: &TypedFact| fact.shape.iter().cloned().product::<TDim>();
        // Every number of the input meets each output, or, in attention, each key twice: for the logits and for the sum.
        let (kind, each) = match &*self.0 {
            Kind::Linear { layer, .. } => (f32::datum_type(), layer.outputs().to_dim()),
            Kind::LinearHalf { layer, .. } => (f16::datum_type(), layer.outputs().to_dim()),
            Kind::LinearInt8 { layer, .. } => (i8::datum_type(), layer.outputs().to_dim()),
            Kind::LayerNorm { .. } => return Ok(tvec!()),
            Kind::Attention { int8, .. } => {
                let keys = inputs.get(1).and_then(|keys| keys.shape.iter().rev().nth(1)).context("expected keys")?;
                (if *int8 { i8::datum_type() } else { f32::datum_type() }, keys.clone() * 2)
            }
        };
        Ok(tvec!((Cost::FMA(kind), numbers(inputs[0]) * each)))
    }

    as_op!();
}
