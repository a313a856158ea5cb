//! Dense embeddings from a graph that gives out one embedding of the whole picture: what the last attention, or the last pooling, does to
//! its one answer is done to every patch.

use std::collections::{HashMap, HashSet};

use super::attention::Attention;
use super::load::along_last;
use super::{Facts, Foreign, attribute, dims_of, integer, integers};
use crate::onnx::proto::{INT64, NodeProto};

/// Embeddings of all tokens, and how they came about, in words.
pub(crate) struct Dense {
    pub patches: String,
    pub how: &'static str,
}

/// Operators that take each number by itself.
const PLAIN: [&str; 25] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Sqrt",
    "Reciprocal",
    "Erf",
    "Tanh",
    "Sigmoid",
    "Gelu",
    "Relu",
    "Neg",
    "Exp",
    "Abs",
    "Clip",
    "Max",
    "Min",
    "Cast",
    "LayerNormalization",
    "Softplus",
    "LeakyRelu",
    "HardSwish",
    "HardSigmoid",
    "Identity",
];
/// Operators that pick, or only move.
const MOVES: [&str; 8] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Gather", "Slice", "Expand"];

impl Foreign {
    /// Embeddings of all tokens that go the way of `global`, the picture's own.
    ///
    /// # Errors
    /// What on that way cannot be done to every token.
    pub(crate) fn dense(&mut self, global: &str, attentions: &[Attention], facts: &Facts) -> Result<Dense, String> {
        let before = self.before(&[global]);
        if let Some(last) = attentions.iter().rfind(|attention| before.contains(&attention.joined)) {
            let (pooled, how) = match last.queries {
                1 => (true, "values of the pooling attention, through all that follows it"),
                n if n == last.keys => (false, "value path of the last attention"),
                n => return Err(format!("the last attention has {n} queries")),
            };
            let (value, joined, width) = (last.value.clone(), last.joined.clone(), last.width);
            return Ok(Dense { patches: self.replay(&joined, &value, width, global, !pooled, facts)?, how });
        }
        let pooling = |node: &&NodeProto| {
            let of = node.input.first().and_then(|input| facts.get(input)).map(|fact| fact.shape.as_slice());
            let to = node.output.first().and_then(|output| facts.get(output)).map(|fact| fact.shape.iter().product::<usize>());
            let all = matches!(of, Some([1, channels, _, _]) if to == Some(*channels));
            all && (node.op_type == "GlobalAveragePool" || node.op_type == "ReduceMean" || node.op_type == "AveragePool")
        };
        let last = self.graph.node.iter().filter(|node| node.output.iter().any(|output| before.contains(output))).rfind(pooling);
        let Some((map, pooled)) = last.map(|node| (node.input[0].clone(), node.output[0].clone())) else {
            return Err("it has neither attention that is understood nor a mean over a map".into());
        };
        let width = facts[&map].shape[1];
        let rows = self.reshape(&map, &[1, width as i64, -1]);
        let rows = self.transpose(&rows, &[0, 2, 1]);
        Ok(Dense {
            patches: self.replay(&pooled, &rows, width, global, false, facts)?,
            how: "map before the last mean, through all that follows it",
        })
    }

    /// Repeats what leads from `from` to `to` for rows `[1, tokens, width]`. With `skip_residual` what is added to the rows first, and the
    /// block's MLP behind it, are left out.
    fn replay(&mut self, from: &str, rows: &str, width: usize, to: &str, mut skip_residual: bool, facts: &Facts) -> Result<String, String> {
        let before = self.before(&[to]);
        let nodes: Vec<NodeProto> =
            self.graph.node.iter().filter(|node| node.output.iter().any(|output| before.contains(output))).cloned().collect();
        let mut rows_of: HashMap<String, (String, usize)> = HashMap::from([(from.to_owned(), (rows.to_owned(), width))]);
        let mut skipped: HashSet<String> = HashSet::new();
        for node in &nodes {
            let output = &node.output[0];
            if rows_of.contains_key(output) {
                continue;
            }
            // Inside a block that is left out, up to the sum that ends it.
            if node.input.iter().any(|input| skipped.contains(input)) {
                let all = node.op_type == "Add" && node.input.iter().all(|input| skipped.contains(input));
                if all {
                    let first = rows_of.get("residual").cloned().ok_or("a residual sum that has no start")?;
                    rows_of.insert(output.clone(), first);
                    skipped.clear();
                } else {
                    skipped.insert(output.clone());
                }
                continue;
            }
            let Some((x, width)) = node.input.iter().find_map(|input| rows_of.get(input)).cloned() else { continue };
            let others = node.input.iter().filter(|input| !input.is_empty() && !rows_of.contains_key(*input));
            let foreign: Vec<&String> = others.filter(|input| self.initializer(input).is_none()).collect();
            if skip_residual && node.op_type == "Add" && foreign.len() == 1 {
                skip_residual = false;
                rows_of.insert("residual".into(), (x, width));
                skipped.insert(output.clone());
                continue;
            }
            let name = |node: &NodeProto| format!("{} {}", node.op_type, node.output[0].trim_start_matches(super::PREFIX));
            if let Some(other) = foreign.first() {
                return Err(format!("{} also reads {}", name(node), other.trim_start_matches(super::PREFIX)));
            }
            let found =
                self.repeated(node, &rows_of, &x, width, facts).ok_or_else(|| format!("{} cannot be done to every patch", name(node)))?;
            rows_of.insert(output.clone(), found);
        }
        rows_of.remove(to).map(|(rows, _)| rows).ok_or_else(|| "the embedding does not follow from it".into())
    }

    fn repeated(
        &mut self,
        node: &NodeProto,
        rows_of: &HashMap<String, (String, usize)>,
        x: &str,
        width: usize,
        facts: &Facts,
    ) -> Option<(String, usize)> {
        let op = node.op_type.as_str();
        let shape = |value: &String| facts.get(value).map(|fact| fact.shape.as_slice());
        let constant = |name: &String| self.initializer(name).map(dims_of);
        let axes = || -> Option<Vec<i64>> {
            let tensor = self.initializer(node.input.get(1)?).filter(|tensor| tensor.data_type == INT64)?;
            Some(tensor.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
        };
        if op == "MatMul" {
            let [inputs, outputs] = constant(&node.input[1])?[..] else { return None };
            let right = rows_of.contains_key(&node.input[0]) && inputs == width;
            return right.then(|| (self.op("MatMul", &[x, &node.input[1]], vec![]), outputs));
        }
        if MOVES.contains(&op) || (op == "ReduceMean" && !along_last(node, axes(), shape(&node.input[0])?.len())) {
            // One token's numbers are moved, or some tokens' picked or averaged: the rows stay what they are.
            let (of, to) = (shape(&node.input[0])?, shape(&node.output[0])?);
            let last_moves = op == "Transpose"
                && of.len() > 1
                && attribute(node, "perm").is_none_or(|perm| perm.ints.last() != Some(&(of.len() as i64 - 1)));
            let one = |shape: &[usize]| shape.iter().product::<usize>() == width;
            let keeps = one(of) && one(to) || of.last() == Some(&width) && to.last() == Some(&width) && !last_moves;
            return keeps.then(|| (x.to_owned(), width)).or_else(|| (op == "Expand").then(|| (x.to_owned(), width)));
        }
        if ["ReduceMean", "ReduceSum", "ReduceL2"].contains(&op) {
            let rank = shape(&node.input[0])?.len();
            if !along_last(node, axes(), rank) {
                return None;
            }
            let keep = integer("keepdims", 1);
            let by_input = node.input.len() > 1;
            let reduced = if by_input {
                let axes = self.ints(&[-1]);
                self.op(op, &[x, &axes], vec![keep])
            } else {
                self.op(op, &[x], vec![integers("axes", &[-1]), keep])
            };
            return Some((reduced, 1));
        }
        if !PLAIN.contains(&op) {
            return None;
        }
        let mut widest = 0;
        let mut inputs = Vec::new();
        for input in &node.input {
            match rows_of.get(input) {
                Some((rows, width)) => {
                    widest = widest.max(*width);
                    inputs.push(rows.clone());
                }
                None => {
                    let dims = if input.is_empty() { vec![] } else { constant(input)? };
                    // A vector for all tokens; a table of tokens is another matter.
                    if dims.iter().rev().skip(1).any(|dim| *dim != 1) {
                        return None;
                    }
                    widest = widest.max(dims.last().copied().unwrap_or(1));
                    inputs.push(input.clone());
                }
            }
        }
        if op == "LayerNormalization"
            && attribute(node, "axis").is_some_and(|a| a.i != -1 && a.i != shape(&node.input[0]).map_or(0, <[usize]>::len) as i64 - 1)
        {
            return None;
        }
        let attributes = node.attribute.iter().map(|a| if a.name == "axis" { integer("axis", -1) } else { a.clone() }).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Some((self.op(op, &inputs, attributes), widest))
    }
}
