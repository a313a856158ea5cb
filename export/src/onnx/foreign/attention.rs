//! Finds attention however it is spelled, and writes it as this crate does.
//!
//! Exporters split heads by reshapes, transposes, slices and gathers in many orders. What they do is found by sending the numbers of a
//! value's places through them: query, key and value are what lies at the places that heads, tokens and channels should have.

use super::places::{MOVES, Places};
use super::rotation::{Part, Rotation, Rows, Turn};
use super::{Facts, Foreign, attribute, dims_of, floats_of, integer};
use crate::onnx::proto::{FLOAT, NodeProto, TensorProto};

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

/// Where a value's numbers come from.
struct Origin {
    source: String,
    places: Places,
    factor: f32,
}

/// Queries or keys, and which of a row's columns they are, head by head.
struct Columns {
    source: String,
    /// Of a row of the source.
    of: Vec<usize>,
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

        let part = |value, tokens, transposed| Part { value, tokens, transposed };
        let [query_part, key_part] = [part(&product.input[0], queries, false), part(&product.input[1], keys, true)];
        let (query, key) = match self.rotation([&query_part, &key_part], [heads, head_width], facts) {
            Some(rotation) => self.rotated(rotation, factor, [heads, head_width], facts)?,
            None => (
                self.tokens(query, factor, facts, [heads, head_width], &query_part)?,
                self.tokens(key, 1.0, facts, [heads, head_width], &key_part)?,
            ),
        };
        let value = self.tokens(value, 1.0, facts, [heads, head_width], &part(&mixed.input[1], keys, false))?;
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
            self.skip(&joined, &rows);
            joined = rows;
        } else {
            let own = self.ints(&own);
            self.op_to("Reshape", &[&rows, &own], vec![], &joined);
        }
        Some(Attention { value, joined, queries, keys, width })
    }

    /// Lets all readers of a copy read the value itself; the copy stays for who asks for its name.
    pub(super) fn skip(&mut self, copy: &str, value: &str) {
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

    /// One part of attention as rows `[1, tokens, heads · width]`, multiplied by its own factor and another.
    fn tokens(&mut self, origin: Origin, factor: f32, facts: &Facts, heads: [usize; 2], part: &Part<'_>) -> Option<String> {
        let Origin { source, places, factor: own } = origin;
        let width = heads[0] * heads[1];
        let row = *facts.get(&source)?.shape.last()?;
        let first = places.of[part.place(heads, 0, 0, 0)] as usize;
        let in_rows = first + width <= row
            && facts.get(&source)?.shape.iter().product::<usize>() == part.tokens * row
            && (0..part.tokens * width).all(|at| {
                let (token, head, channel) = (at / width, at % width / heads[1], at % heads[1]);
                places.of[part.place(heads, head, token, channel)] as usize == token * row + first + head * heads[1] + channel
            });
        if in_rows {
            let columns = Columns { source, of: (first..first + width).collect(), factor: factor * own };
            return self.columns(columns, part.tokens, facts);
        }
        // As it is, brought from heads to rows.
        let [heads, head_width, tokens] = [heads[0], heads[1], part.tokens].map(|n| n as i64);
        let own = if part.transposed { [1, heads, head_width, tokens] } else { [1, heads, tokens, head_width] };
        let per_head = self.reshape(part.value, &own);
        let rows = self.transpose(&per_head, if part.transposed { &[0, 3, 1, 2] } else { &[0, 2, 1, 3] });
        let rows = self.reshape(&rows, &[1, tokens, width as i64]);
        Some(self.times(rows, factor))
    }

    /// Columns of rows, `[1, tokens, columns]`: of a product with constants their columns alone are computed.
    fn columns(&mut self, columns: Columns, tokens: usize, facts: &Facts) -> Option<String> {
        let Columns { source, of, factor } = columns;
        let row = *facts.get(&source)?.shape.last()?;
        let Some(linear) = self.linear(&source).filter(|linear| linear.outputs == row) else {
            let rows = self.reshape(&source, &[1, tokens as i64, row as i64]);
            let in_order = of.windows(2).all(|pair| pair[1] == pair[0] + 1);
            let rows = match of[..] {
                [first, .., last] if in_order && of.len() < row => self.slice(&rows, 2, first as i64, last as i64 + 1),
                _ if in_order => rows,
                _ => {
                    let of = self.ints(&of.iter().map(|column| *column as i64).collect::<Vec<_>>());
                    self.op("Gather", &[&rows, &of], vec![integer("axis", 2)])
                }
            };
            return Some(self.times(rows, factor));
        };
        let Linear { x, weight, inputs, outputs, bias } = linear;
        let weight: Vec<f32> =
            (0..inputs).flat_map(|i| of.iter().map(|column| weight[i * outputs + column] * factor).collect::<Vec<_>>()).collect();
        let weight = self.floats(&[inputs, of.len()], &weight);
        let x = if facts.get(&x).is_some_and(|fact| fact.shape == [1, tokens, inputs]) {
            x
        } else {
            self.reshape(&x, &[1, tokens as i64, inputs as i64])
        };
        let product = self.op("MatMul", &[&x, &weight], vec![]);
        let Some(bias) = bias else { return Some(product) };
        let bias: Vec<f32> = of.iter().map(|column| bias[*column] * factor).collect();
        let bias = self.floats(&[of.len()], &bias);
        Some(self.op("Add", &[&product, &bias], vec![]))
    }

    /// Queries and keys as rows whose heads' halves are turned against one another, as [`crate::onnx::rotary`] writes it.
    fn rotated(&mut self, rotation: Rotation, factor: f32, [heads, head_width]: [usize; 2], facts: &Facts) -> Option<(String, String)> {
        let Rotation { rows: [query, key], turn: Turn { pairs, cos, sin } } = rotation;
        let half = pairs.len();
        let tokens = cos.len() / half;
        let angles = [cos, sin].map(|numbers| self.shared_floats(&[1, tokens, 1, half], &numbers));
        let mut turned = |Rows { source, first, scale }: Rows, factor: f32| {
            // A head's first channels in its first half, the second ones in the other.
            let order = [0, 1].map(|of| pairs.iter().map(|pair| pair[of]).collect::<Vec<_>>()).concat();
            let head = |head| order.iter().map(move |channel| first + head * head_width + channel);
            let columns = Columns { source, of: (0..heads).flat_map(head).collect(), factor: scale * factor };
            let rows = self.columns(columns, tokens, facts)?;
            let by_head = self.reshape(&rows, &[0, 0, heads as i64, head_width as i64]);
            let low = self.slice(&by_head, 3, 0, half as i64);
            let high = self.slice(&by_head, 3, half as i64, head_width as i64);
            let [a, b, c, d] =
                [(&low, 0), (&high, 1), (&high, 0), (&low, 1)].map(|(half, angle)| self.op("Mul", &[half, &angles[angle]], vec![]));
            let (low, high) = (self.op("Sub", &[&a, &b], vec![]), self.op("Add", &[&c, &d], vec![]));
            let both = self.op("Concat", &[&low, &high], vec![integer("axis", -1)]);
            Some(self.reshape(&both, &[0, 0, (heads * head_width) as i64]))
        };
        Some((turned(query, factor)?, turned(key, 1.0)?))
    }

    /// Floats that may be there already.
    fn shared_floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let same = |tensor: &&TensorProto| {
            tensor.data_type == FLOAT && dims_of(tensor) == dims && floats_of(tensor).is_some_and(|there| there == values)
        };
        let there = self.graph.initializer.iter().find(same).map(|tensor| tensor.name.clone());
        there.unwrap_or_else(|| self.floats(dims, values))
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
