//! Finds attention however it is spelled, and writes it as this crate does.
//!
//! Exporters split heads by reshapes, transposes, slices and gathers in many orders. What they do is found by sending the numbers of a
//! value's places through them: query, key and value are what lies at the places that heads, tokens and channels should have.

use super::{Facts, Foreign, attribute, dims_of, floats_of, integer};
use crate::onnx::proto::{FLOAT, INT64, NodeProto};

/// An attention that was found.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// The values of all tokens, `[1, keys, heads · width]`.
    pub value: String,
    /// What comes of them, `heads · width` numbers a query, under the name that the file gives it.
    pub joined: String,
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
}

/// Numbers of places, in the shape of a value.
struct Places {
    shape: Vec<usize>,
    of: Vec<u32>,
}

/// Where a value's numbers come from.
struct Origin {
    source: String,
    places: Places,
    factor: f32,
}

/// `x · weight + bias`.
struct Linear {
    x: String,
    weight: Vec<f32>,
    inputs: usize,
    outputs: usize,
    bias: Option<Vec<f32>>,
}

impl Foreign {
    /// Rewrites every attention that is understood. In the order of the graph.
    pub(super) fn regular_attention(&mut self, facts: &Facts) -> Vec<Attention> {
        let marks: Vec<String> =
            self.graph.node.iter().filter(|node| node.op_type == "Softmax").filter_map(|node| node.output.first().cloned()).collect();
        marks.into_iter().filter_map(|softmax| self.regular(&softmax, facts)).collect()
    }

    fn maker(&self, value: &str) -> Option<&NodeProto> {
        self.graph.node.iter().find(|node| node.output.iter().any(|output| output == value))
    }

    fn readers(&self, value: &str) -> Vec<&NodeProto> {
        self.graph.node.iter().filter(|node| node.input.iter().any(|input| input == value)).collect()
    }

    fn only_reader(&self, value: &str) -> Option<&NodeProto> {
        let is_output = self.graph.output.iter().any(|output| output.name == value);
        match self.readers(value)[..] {
            [reader] if !is_output => Some(reader),
            _ => None,
        }
    }

    fn scalar(&self, value: &str) -> Option<f32> {
        match floats_of(self.initializer(value)?)?[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    /// The factor of a product with a number, and what is multiplied.
    fn scaled(&self, node: &NodeProto) -> Option<(String, f32)> {
        let [a, b] = node.input.as_slice() else { return None };
        match node.op_type.as_str() {
            "Mul" => self.scalar(b).map(|f| (a.clone(), f)).or_else(|| self.scalar(a).map(|f| (b.clone(), f))),
            "Div" => self.scalar(b).filter(|f| *f != 0.0).map(|f| (a.clone(), 1.0 / f)),
            _ => None,
        }
    }

    fn regular(&mut self, softmax: &str, facts: &Facts) -> Option<Attention> {
        let shape = |value: &str| facts.get(value).map(|fact| fact.shape.clone());
        let node = self.maker(softmax)?.clone();
        let logits = shape(&node.input[0])?;
        let rank = logits.len();
        if rank < 3 || attribute(&node, "axis").is_some_and(|a| a.i != -1 && a.i != rank as i64 - 1) {
            return None;
        }
        let (queries, keys) = (logits[rank - 2], logits[rank - 1]);
        // Logits: a product, perhaps scaled, perhaps with something added.
        let (mut product, mut factor, mut added) = (node.input[0].clone(), 1.0, None);
        let product = loop {
            let node = self.maker(&product)?.clone();
            if node.op_type == "MatMul" {
                break node;
            }
            if let Some((of, by)) = self.scaled(&node) {
                // What was added before is scaled too.
                if added.is_some() {
                    return None;
                }
                (product, factor) = (of, factor * by);
                continue;
            }
            if node.op_type != "Add" || added.is_some() || factor != 1.0 {
                return None;
            }
            let [a, b] = node.input.as_slice() else { return None };
            let is_product = |value: &str| shape(value).is_some_and(|s| s == logits) && self.leads_to_product(value);
            let (of, other) = if is_product(a) { (a, b) } else { (b, a) };
            added = Some(other.clone());
            product = of.clone();
        };
        // A guard against rows that see nothing, which no sentence has.
        let mut weights = softmax.to_owned();
        if let [a, b] = self.readers(softmax)[..] {
            let guard = if a.op_type == "IsNaN" { (a, b) } else { (b, a) };
            let is_guard = guard.0.op_type == "IsNaN" && guard.1.op_type == "Where" && guard.1.input[0] == guard.0.output[0];
            weights = is_guard.then(|| guard.1.output[0].clone())?;
        }
        let mixed = self.only_reader(&weights).filter(|node| node.op_type == "MatMul" && node.input[0] == weights)?.clone();
        let [query, key, value] =
            [self.origin(&product.input[0], facts)?, self.origin(&product.input[1], facts)?, self.origin(&mixed.input[1], facts)?];
        let value_shape = shape(&mixed.input[1])?;
        let head_width = *value_shape.last()?;
        let heads: usize = value_shape[..value_shape.len() - 2].iter().product();
        let counts = |value: &str| shape(value).map(|s| s.iter().product::<usize>());
        if counts(&product.input[0])? != heads * queries * head_width || counts(&product.input[1])? != heads * keys * head_width {
            return None;
        }
        // Forward to where the heads are joined.
        let mut joined = mixed.output[0].clone();
        let mut places = Places::all(shape(&joined)?);
        let width = heads * head_width;
        let is_joined = |places: &Places| {
            places.shape.last() == Some(&width)
                && (0..queries * width).all(|at| {
                    let (token, head, channel) = (at / width, at % width / head_width, at % head_width);
                    places.of[at] as usize == (head * queries + token) * head_width + channel
                })
        };
        while !is_joined(&places) {
            let next = self.only_reader(&joined)?.clone();
            places = self.moved(&next, &next.output[0], places, facts)?;
            joined = next.output[0].clone();
        }

        let scale = factor;
        let query = self.tokens(query, scale, facts, [heads, queries, head_width], false, &product.input[0])?;
        let key = self.tokens(key, 1.0, facts, [heads, keys, head_width], true, &product.input[1])?;
        let value = self.tokens(value, 1.0, facts, [heads, keys, head_width], false, &mixed.input[1])?;
        let split = [0, 0, heads as i64, head_width as i64];
        let mut per_head = |x: &str, perm: &[i64]| {
            let x = self.reshape(x, &split);
            self.transpose(&x, perm)
        };
        let (q, k, v) = (per_head(&query, &[0, 2, 1, 3]), per_head(&key, &[0, 2, 3, 1]), per_head(&value, &[0, 2, 1, 3]));
        let mut logits = self.op("MatMul", &[&q, &k], vec![]);
        if let Some(added) = &added {
            logits = self.op("Add", &[&logits, added], vec![]);
        }
        let weights = self.op("Softmax", &[&logits], vec![integer("axis", -1)]);
        let mixed = self.op("MatMul", &[&weights, &v], vec![]);
        let mixed = self.transpose(&mixed, &[0, 2, 1, 3]);
        let rows = self.reshape(&mixed, &[0, 0, width as i64]);
        let own: Vec<i64> = shape(&joined)?.iter().map(|dim| *dim as i64).collect();
        self.graph
            .node
            .iter_mut()
            .flat_map(|node| node.output.iter_mut())
            .filter(|output| **output == joined)
            .for_each(|output| output.push_str(".before"));
        if own == [1, queries as i64, width as i64] {
            self.op_to("Identity", &[&rows], vec![], &joined);
            self.skip_identity(&joined, &rows);
            joined = rows;
        } else {
            let own = self.ints(&own);
            self.op_to("Reshape", &[&rows, &own], vec![], &joined);
        }
        Some(Attention { value, joined, queries, keys, width })
    }

    /// Lets all readers of a copy read the value itself; the copy stays for who asks for its name.
    fn skip_identity(&mut self, copy: &str, value: &str) {
        for node in self.graph.node.iter_mut().filter(|node| node.op_type != "Identity" || node.output[0] != copy) {
            node.input.iter_mut().filter(|input| *input == copy).for_each(|input| *input = value.into());
        }
    }

    fn leads_to_product(&self, value: &str) -> bool {
        let Some(node) = self.maker(value) else { return false };
        node.op_type == "MatMul" || self.scaled(node).is_some_and(|(of, _)| self.leads_to_product(&of))
    }

    /// Follows a value back through what only moves or scales numbers.
    fn origin(&self, value: &str, facts: &Facts) -> Option<Origin> {
        let (mut source, mut steps, mut factor) = (value.to_owned(), Vec::new(), 1.0);
        while let Some(node) = self.maker(&source) {
            if let Some((of, by)) = self.scaled(node) {
                factor *= by;
                source = of;
            } else if MOVES.contains(&node.op_type.as_str()) && self.is_move(node) {
                steps.push((node, source));
                source = node.input[0].clone();
            } else {
                break;
            }
        }
        let mut places = Places::all(facts.get(&source)?.shape.clone());
        for (node, output) in steps.into_iter().rev() {
            places = self.moved(node, &output, places, facts)?;
        }
        Some(Origin { source, places, factor })
    }

    /// Whether what steers a move is constant.
    fn is_move(&self, node: &NodeProto) -> bool {
        node.input[1..].iter().all(|input| input.is_empty() || self.initializer(input).is_some())
    }

    fn moved(&self, node: &NodeProto, output: &str, places: Places, facts: &Facts) -> Option<Places> {
        let shape = facts.get(output)?.shape.clone();
        let ints = |index: usize| self.ints_of(node.input.get(index)?);
        let axis = |axis: i64| {
            usize::try_from(if axis < 0 { axis + places.shape.len() as i64 } else { axis }).ok().filter(|a| *a < places.shape.len())
        };
        match node.op_type.as_str() {
            "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" => {
                (shape.iter().product::<usize>() == places.of.len()).then_some(Places { shape, of: places.of })
            }
            "Transpose" => {
                let rank = places.shape.len();
                let perm = attribute(node, "perm").map(|a| a.ints.iter().map(|p| *p as usize).collect());
                let perm: Vec<usize> = perm.unwrap_or_else(|| (0..rank).rev().collect());
                (perm.len() == rank && perm.iter().all(|p| *p < rank)).then(|| places.transposed(&perm))
            }
            "Gather" => {
                let along = axis(attribute(node, "axis").map_or(0, |a| a.i))?;
                let count = places.shape[along] as i64;
                let picked =
                    ints(1)?.into_iter().map(|i| usize::try_from(if i < 0 { i + count } else { i }).ok()).collect::<Option<Vec<_>>>()?;
                let picked = places.picked(along, &picked)?;
                (shape.iter().product::<usize>() == picked.of.len()).then_some(Places { shape, of: picked.of })
            }
            "Slice" => {
                let (starts, ends) = (ints(1)?, ints(2)?);
                let axes = ints(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
                let steps = ints(4).unwrap_or_else(|| vec![1; starts.len()]);
                let mut places = places;
                for (((start, end), along), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
                    let along = usize::try_from(if along < 0 { along + places.shape.len() as i64 } else { along }).ok()?;
                    let count = *places.shape.get(along)? as i64;
                    let clamp = |v: i64| (if v < 0 { v.saturating_add(count) } else { v }).clamp(0, count);
                    if step < 1 {
                        return None;
                    }
                    let picked: Vec<usize> = (clamp(start)..clamp(end)).step_by(usize::try_from(step).ok()?).map(|i| i as usize).collect();
                    places = places.picked(along, &picked)?;
                }
                (shape == places.shape).then_some(places)
            }
            "Split" => {
                let along = axis(attribute(node, "axis").map_or(0, |a| a.i))?;
                let sizes: Option<Vec<usize>> = node.output.iter().map(|output| facts.get(output).map(|fact| fact.shape[along])).collect();
                let (at, sizes) = (node.output.iter().position(|o| o == output)?, sizes?);
                let first: usize = sizes[..at].iter().sum();
                places.picked(along, &(first..first + sizes[at]).collect::<Vec<_>>())
            }
            _ => None,
        }
    }

    fn ints_of(&self, value: &str) -> Option<Vec<i64>> {
        let tensor = self.initializer(value)?;
        match tensor.data_type {
            INT64 => Some(tensor.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            6 => Some(tensor.raw_data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect()),
            _ => None,
        }
    }

    /// One part of attention as rows `[1, tokens, heads · width]`, multiplied by its own factor and another.
    fn tokens(
        &mut self,
        origin: Origin,
        factor: f32,
        facts: &Facts,
        [heads, tokens, head_width]: [usize; 3],
        transposed: bool,
        part: &str,
    ) -> Option<String> {
        let Origin { source, places, factor: own } = origin;
        let width = heads * head_width;
        let row = *facts.get(&source)?.shape.last()?;
        let place = |head: usize, token: usize, channel: usize| {
            let at =
                if transposed { (head * head_width + channel) * tokens + token } else { (head * tokens + token) * head_width + channel };
            places.of[at] as usize
        };
        let first = place(0, 0, 0);
        let in_rows = first + width <= row
            && facts.get(&source)?.shape.iter().product::<usize>() == tokens * row
            && (0..tokens * width).all(|at| {
                let (token, head, channel) = (at / width, at % width / head_width, at % head_width);
                place(head, token, channel) == token * row + first + head * head_width + channel
            });
        if !in_rows {
            // As it is, brought from heads to rows: rotated queries and keys.
            let own = [1, heads as i64].into_iter().chain(if transposed {
                [head_width as i64, tokens as i64]
            } else {
                [tokens as i64, head_width as i64]
            });
            let own: Vec<i64> = own.collect();
            let per_head = self.reshape(part, &own);
            let rows = self.transpose(&per_head, if transposed { &[0, 3, 1, 2] } else { &[0, 2, 1, 3] });
            let rows = self.reshape(&rows, &[1, tokens as i64, width as i64]);
            return Some(self.times(rows, factor));
        }
        let factor = factor * own;
        let Some(linear) = self.linear(&source).filter(|linear| linear.outputs == row) else {
            let rows = self.reshape(&source, &[1, tokens as i64, row as i64]);
            let rows = if row == width { rows } else { self.slice(&rows, 2, first as i64, (first + width) as i64) };
            return Some(self.times(rows, factor));
        };
        let Linear { x, weight, inputs, outputs, bias } = linear;
        let columns: Vec<f32> = (0..inputs).flat_map(|i| weight[i * outputs + first..][..width].iter().map(|w| w * factor)).collect();
        let weight = self.floats(&[inputs, width], &columns);
        let x = if facts.get(&x).is_some_and(|fact| fact.shape == [1, tokens, inputs]) {
            x
        } else {
            self.reshape(&x, &[1, tokens as i64, inputs as i64])
        };
        let product = self.op("MatMul", &[&x, &weight], vec![]);
        let Some(bias) = bias else { return Some(product) };
        let bias: Vec<f32> = bias[first..first + width].iter().map(|b| b * factor).collect();
        let bias = self.floats(&[width], &bias);
        Some(self.op("Add", &[&product, &bias], vec![]))
    }

    fn times(&mut self, value: String, factor: f32) -> String {
        if factor == 1.0 {
            return value;
        }
        let factor = self.floats(&[], &[factor]);
        self.op("Mul", &[&value, &factor], vec![])
    }

    /// The product that makes a value, if a product with constants does.
    fn linear(&self, value: &str) -> Option<Linear> {
        let node = self.maker(value)?;
        let (product, bias) = match node.op_type.as_str() {
            "MatMul" => (node, None),
            "Add" => {
                let [a, b] = node.input.as_slice() else { return None };
                let (product, bias) = if self.initializer(a).is_some() { (b, a) } else { (a, b) };
                (self.maker(product).filter(|node| node.op_type == "MatMul")?, Some(floats_of(self.initializer(bias)?)?))
            }
            _ => return None,
        };
        let weight = self.initializer(&product.input[1]).filter(|tensor| tensor.data_type == FLOAT)?;
        let [inputs, outputs] = dims_of(weight)[..] else { return None };
        let fits = bias.as_ref().is_none_or(|bias| bias.len() == outputs);
        fits.then_some(())?;
        Some(Linear { x: product.input[0].clone(), weight: floats_of(weight)?, inputs, outputs, bias })
    }
}

/// Operators that move numbers and change none.
const MOVES: [&str; 9] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose", "Gather", "Slice", "Split"];

impl Places {
    fn all(shape: Vec<usize>) -> Self {
        let count = shape.iter().product::<usize>() as u32;
        Self { shape, of: (0..count).collect() }
    }

    fn transposed(&self, perm: &[usize]) -> Self {
        let mut steps = vec![1; self.shape.len()];
        for axis in (0..self.shape.len().saturating_sub(1)).rev() {
            steps[axis] = steps[axis + 1] * self.shape[axis + 1];
        }
        let shape: Vec<usize> = perm.iter().map(|axis| self.shape[*axis]).collect();
        let mut index = vec![0; shape.len()];
        let of = (0..self.of.len()).map(|_| {
            let found = self.of[index.iter().zip(perm).map(|(i, axis)| i * steps[*axis]).sum::<usize>()];
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
            found
        });
        let of = of.collect();
        Self { shape, of }
    }

    fn picked(&self, axis: usize, indices: &[usize]) -> Option<Self> {
        let (count, inner) = (self.shape[axis], self.shape[axis + 1..].iter().product::<usize>());
        if indices.iter().any(|index| *index >= count) {
            return None;
        }
        let blocks = self.of.chunks_exact((count * inner).max(1));
        let of = blocks.flat_map(|block| indices.iter().flat_map(move |index| &block[index * inner..][..inner])).copied().collect();
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        Some(Self { shape, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_move_as_their_numbers_do() {
        let places = Places::all(vec![2, 3, 4]);
        let turned = places.transposed(&[2, 0, 1]);
        assert_eq!((turned.shape.as_slice(), &turned.of[..4]), (&[4, 2, 3][..], &[0, 4, 8, 12][..]));
        let picked = places.picked(1, &[2, 0]).unwrap();
        assert_eq!((picked.shape.as_slice(), &picked.of[..8]), (&[2, 2, 4][..], &[8, 9, 10, 11, 0, 1, 2, 3][..]));
        assert!(places.picked(1, &[3]).is_none());
    }
}
