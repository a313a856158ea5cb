//! Finds rotary positions however they are spelled.
//!
//! Exporters turn pairs of channels by halves or by neighbours, with negations, joins and tables of cosines in many orders. Each number of
//! queries and keys is therefore followed back to the weighted sum of two numbers that it is.

use std::collections::BTreeSet;

use super::places::{MOVES, Places};
use super::{Facts, Foreign, attribute, dims_of, floats_of};
use crate::onnx::proto::NodeProto;

/// Queries or keys as attention's product reads them: `[.., heads, tokens, width]`, or with tokens last.
pub(super) struct Part<'a> {
    pub value: &'a str,
    pub tokens: usize,
    pub transposed: bool,
}

/// Queries and keys, each pair of whose channels is turned by an angle of its token:
/// `first · cos - second · sin` and `second · cos + first · sin`.
pub(super) struct Rotation {
    /// What is turned: queries, keys.
    pub rows: [Rows; 2],
    pub turn: Turn,
}

/// A source whose rows are tokens.
pub(super) struct Rows {
    pub source: String,
    /// The first head's first column.
    pub first: usize,
    /// What all is multiplied by besides.
    pub scale: f32,
}

/// How the channels of a head are turned.
pub(super) struct Turn {
    /// First and second channel of each pair.
    pub pairs: Vec<[usize; 2]>,
    /// `[tokens, pairs]`
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

/// A number as the sum of at most two numbers: their places and factors.
type Sum = [Option<(u32, f32)>; 2];

/// How far apart numbers of tables may be that should be alike.
const ROUNDING: f32 = 1e-5;

impl Part<'_> {
    pub fn place(&self, [_, width]: [usize; 2], head: usize, token: usize, channel: usize) -> usize {
        if self.transposed { (head * width + channel) * self.tokens + token } else { (head * self.tokens + token) * width + channel }
    }
}

impl Foreign {
    /// The rotation of queries and keys, if it is the same one.
    pub(super) fn rotation(&self, [query, key]: [&Part<'_>; 2], heads: [usize; 2], facts: &Facts) -> Option<Rotation> {
        let ((query, turn), (key, other)) = (self.turned(query, heads, facts)?, self.turned(key, heads, facts)?);
        let alike = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= ROUNDING);
        let same = turn.pairs == other.pairs && alike(&turn.cos, &other.cos) && alike(&turn.sin, &other.sin);
        same.then_some(Rotation { rows: [query, key], turn })
    }

    fn turned(&self, part: &Part<'_>, heads: [usize; 2], facts: &Facts) -> Option<(Rows, Turn)> {
        let (source, sums) = self.sums(part.value, facts)?;
        let (shape, [count, width]) = (&facts.get(&source)?.shape, heads);
        let row = *shape.last()?;
        if sums.of.len() != count * part.tokens * width || shape.iter().product::<usize>() != part.tokens * row {
            return None;
        }
        let sum = |head, token, channel| sums.of[part.place(heads, head, token, channel)];
        let first = (0..width).flat_map(|channel| sum(0, 0, channel)).flatten().map(|(place, _)| place as usize).min()?;
        // Places as channels of the number's own row and head.
        let of_head = |head: usize| {
            let mut of = Vec::with_capacity(part.tokens * width);
            for (token, channel) in (0..part.tokens).flat_map(|token| (0..width).map(move |channel| (token, channel))) {
                let (start, mut sum) = (token * row + first + head * width, sum(head, token, channel));
                for (place, _) in sum.iter_mut().flatten() {
                    *place = place.checked_sub(u32::try_from(start).ok()?).filter(|channel| (*channel as usize) < width)?;
                }
                of.push(sum);
            }
            Some(of)
        };
        let of = of_head(0)?;
        if (1..count).any(|head| of_head(head).as_ref() != Some(&of)) {
            return None;
        }
        let mut turn = Turn::of(&of, width)?;
        let scale = turn.cos[0].hypot(turn.sin[0]);
        if scale == 0.0 {
            return None;
        }
        turn.cos.iter_mut().chain(&mut turn.sin).for_each(|v| *v /= scale);
        Some((Rows { source, first, scale }, turn))
    }

    /// Follows a value back through what moves, weighs and adds numbers of one source.
    fn sums(&self, value: &str, facts: &Facts) -> Option<(String, Places<Sum>)> {
        self.maker(value).and_then(|node| self.sums_of(node, value, facts)).or_else(|| {
            let Places { shape, of } = Places::all(facts.get(value)?.shape.clone());
            Some((value.to_owned(), Places { shape, of: of.into_iter().map(|place| [Some((place, 1.0)), None]).collect() }))
        })
    }

    fn sums_of(&self, node: &NodeProto, value: &str, facts: &Facts) -> Option<(String, Places<Sum>)> {
        if let Some((of, by)) = self.scaled(node) {
            let (source, mut sums) = self.sums(&of, facts)?;
            sums.of.iter_mut().for_each(|sum| *sum = weighed(*sum, by));
            return Some((source, sums));
        }
        match (node.op_type.as_str(), node.input.as_slice()) {
            ("Neg", [of]) => {
                let (source, mut sums) = self.sums(of, facts)?;
                sums.of.iter_mut().for_each(|sum| *sum = weighed(*sum, -1.0));
                Some((source, sums))
            }
            ("Mul", [a, b]) => {
                let (of, table) = if self.initializer(b).is_some() { (a, b) } else { (b, a) };
                let table = self.initializer(table)?;
                let (source, mut sums) = self.sums(of, facts)?;
                let factors = broadcast(dims_of(table), floats_of(table)?, &sums.shape)?;
                sums.of.iter_mut().zip(factors).for_each(|(sum, by)| *sum = weighed(*sum, by));
                Some((source, sums))
            }
            ("Add" | "Sub", [a, b]) if self.initializer(a).is_none() && self.initializer(b).is_none() => {
                let ((source, mut sums), (other, added)) = (self.sums(a, facts)?, self.sums(b, facts)?);
                if other != source || added.shape != sums.shape {
                    return None;
                }
                let sign = if node.op_type == "Sub" { -1.0 } else { 1.0 };
                for (sum, added) in sums.of.iter_mut().zip(added.of) {
                    *sum = added_up(*sum, weighed(added, sign))?;
                }
                Some((source, sums))
            }
            ("Concat", [first, rest @ ..]) => {
                let (source, first) = self.sums(first, facts)?;
                let mut parts = vec![first];
                for part in rest {
                    parts.push(self.sums(part, facts).filter(|(other, _)| *other == source)?.1);
                }
                let axis = attribute(node, "axis")?.i;
                let axis = usize::try_from(if axis < 0 { axis + parts[0].shape.len() as i64 } else { axis }).ok()?;
                Some((source, Places::joined(&parts, axis)?))
            }
            (op, [of, ..]) if MOVES.contains(&op) && self.is_move(node) => {
                let (source, sums) = self.sums(of, facts)?;
                Some((source, self.moved(node, value, sums, facts)?))
            }
            _ => None,
        }
    }
}

fn weighed(sum: Sum, by: f32) -> Sum {
    sum.map(|part| part.map(|(place, factor)| (place, factor * by)))
}

fn added_up(mut sum: Sum, added: Sum) -> Option<Sum> {
    for (place, factor) in added.into_iter().flatten() {
        match sum.iter_mut().find(|part| part.is_none_or(|(own, _)| own == place))? {
            Some((_, own)) => *own += factor,
            none => *none = Some((place, factor)),
        }
    }
    Some(sum)
}

fn broadcast(dims: Vec<usize>, values: Vec<f32>, shape: &[usize]) -> Option<Vec<f32>> {
    let ones = shape.len().checked_sub(dims.len())?;
    let mut table = Places { shape: [vec![1; ones], dims].concat(), of: values };
    for (axis, count) in shape.iter().enumerate() {
        if table.shape[axis] == 1 {
            table = table.picked(axis, &vec![0; *count])?;
        }
    }
    (table.shape == shape).then_some(table.of)
}

impl Turn {
    /// The turn that makes a head's channels, `[tokens, width]`, of other channels.
    fn of(sums: &[Sum], width: usize) -> Option<Self> {
        let made_of = |channel: usize| -> Option<[usize; 2]> {
            let parts = sums.iter().skip(channel).step_by(width).flatten().flatten();
            let channels: BTreeSet<usize> = parts.map(|(from, _)| *from as usize).collect();
            channels.into_iter().collect::<Vec<_>>().try_into().ok()
        };
        let made_of: Vec<[usize; 2]> = (0..width).map(made_of).collect::<Option<_>>()?;
        let factor = |token: usize, channel: usize, from: usize| {
            let parts = sums[token * width + channel].iter().flatten();
            parts.filter(|(place, _)| *place as usize == from).map(|(_, factor)| factor).sum::<f32>()
        };
        let tokens = sums.len() / width;
        let angles = |[first, second]: [usize; 2], [a, b]: [usize; 2]| {
            let turned = |token| {
                let [cos, sin] = [factor(token, first, a), -factor(token, first, b)];
                let fits = (factor(token, second, b) - cos).abs() <= ROUNDING && (factor(token, second, a) - sin).abs() <= ROUNDING;
                fits.then_some([cos, sin])
            };
            (0..tokens).map(turned).collect::<Option<Vec<_>>>()
        };
        let (mut pairs, mut tables) = (Vec::new(), Vec::new());
        for (channel, pair) in made_of.iter().enumerate() {
            let [first, second] = (0..width).filter(|other| made_of[*other] == *pair).collect::<Vec<_>>().try_into().ok()?;
            if first == channel {
                // Which of the two outputs is the first channel's is not said.
                tables.push(angles([first, second], *pair).or_else(|| angles([second, first], *pair))?);
                pairs.push(*pair);
            }
        }
        let table = |which: usize| (0..tokens).flat_map(|token| tables.iter().map(move |of| of[token][which])).collect();
        Some(Self { cos: table(0), sin: table(1), pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens of a head of four channels whose pairs lie as said; the first token, a class token, is not turned.
    fn head(pairs: [[usize; 2]; 2], scale: f32, angles: [[f32; 2]; 2]) -> Vec<Sum> {
        let mut sums = vec![[None; 2]; 8];
        for ([first, second], [cos, sin]) in pairs.into_iter().zip(angles) {
            for channel in [first, second] {
                sums[channel] = [Some((channel as u32, scale)), None];
            }
            sums[4 + first] = [Some((first as u32, scale * cos)), Some((second as u32, -scale * sin))];
            // In the other order, as joins by neighbours give it.
            sums[4 + second] = [Some((first as u32, scale * sin)), Some((second as u32, scale * cos))];
        }
        sums
    }

    #[test]
    fn a_turn_is_found_by_halves_and_by_neighbours() {
        let angles = [[0.6, 0.8], [0.8, -0.6]];
        for pairs in [[[0, 2], [1, 3]], [[0, 1], [2, 3]]] {
            let turn = Turn::of(&head(pairs, 2.0, angles), 4).unwrap();
            assert_eq!(turn.pairs, pairs);
            assert_eq!((turn.cos, turn.sin), (vec![2.0, 2.0, 1.2, 1.6], vec![0.0, 0.0, 1.6, -1.2]));
        }
    }

    #[test]
    fn channels_brought_to_halves_while_they_are_turned_are_found_too() {
        let of_neighbours = head([[0, 1], [2, 3]], 1.0, [[0.6, 0.8], [0.8, -0.6]]);
        let to_halves: Vec<Sum> = [0, 2, 1, 3, 4, 6, 5, 7].map(|at| of_neighbours[at]).into();
        let turn = Turn::of(&to_halves, 4).unwrap();
        assert_eq!((turn.pairs, turn.sin), (vec![[0, 1], [2, 3]], vec![0.0, 0.0, 0.8, -0.6]));
    }

    #[test]
    fn what_is_no_turn_is_none() {
        let angles = [[0.6, 0.8], [0.8, -0.6]];
        let whole = head([[0, 2], [1, 3]], 1.0, angles);
        let changed = |at: usize, sum: Sum| {
            let mut sums = whole.clone();
            sums[at] = sum;
            Turn::of(&sums, 4)
        };
        assert!(changed(6, [Some((0, -0.8)), Some((2, 0.6))]).is_none(), "a reflection");
        assert!(changed(6, [Some((1, 0.8)), Some((2, 0.6))]).is_none(), "channels of two pairs");
        assert!(changed(4, [Some((0, 1.0)), None]).is_none(), "a channel that stays where its partner is turned");
        assert!(Turn::of(&whole[..4], 4).is_none(), "nothing is turned");
    }
}
