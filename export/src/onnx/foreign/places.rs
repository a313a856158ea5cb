//! Which number of one value becomes which of another, through operators that move numbers.

use super::{Facts, Foreign, attribute, floats_of};
use crate::onnx::proto::{INT64, NodeProto};

/// What is known of each number of a value, in its shape: the place that it comes from, unless said otherwise.
pub(super) struct Places<T = u32> {
    pub shape: Vec<usize>,
    pub of: Vec<T>,
}

/// Operators that move numbers and change none.
pub(super) const MOVES: [&str; 9] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose", "Gather", "Slice", "Split"];

impl Foreign {
    pub(super) fn maker(&self, value: &str) -> Option<&NodeProto> {
        self.graph.node.iter().find(|node| node.output.iter().any(|output| output == value))
    }

    fn scalar(&self, value: &str) -> Option<f32> {
        match floats_of(self.initializer(value)?)?[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    /// The factor of a product with a number, and what is multiplied.
    pub(super) fn scaled(&self, node: &NodeProto) -> Option<(String, f32)> {
        let [a, b] = node.input.as_slice() else { return None };
        match node.op_type.as_str() {
            "Mul" => self.scalar(b).map(|f| (a.clone(), f)).or_else(|| self.scalar(a).map(|f| (b.clone(), f))),
            "Div" => self.scalar(b).filter(|f| *f != 0.0).map(|f| (a.clone(), 1.0 / f)),
            _ => None,
        }
    }

    /// Whether what steers a move is constant.
    pub(super) fn is_move(&self, node: &NodeProto) -> bool {
        node.input[1..].iter().all(|input| input.is_empty() || self.initializer(input).is_some())
    }

    pub(super) fn moved<T: Copy>(&self, node: &NodeProto, output: &str, places: Places<T>, facts: &Facts) -> Option<Places<T>> {
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

    pub(super) fn ints_of(&self, value: &str) -> Option<Vec<i64>> {
        let tensor = self.initializer(value)?;
        match tensor.data_type {
            INT64 => Some(tensor.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            6 => Some(tensor.raw_data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect()),
            _ => None,
        }
    }
}

impl Places {
    pub fn all(shape: Vec<usize>) -> Self {
        let count = shape.iter().product::<usize>() as u32;
        Self { shape, of: (0..count).collect() }
    }
}

impl<T: Copy> Places<T> {
    pub fn transposed(&self, perm: &[usize]) -> Self {
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

    /// Values side by side along an axis.
    pub fn joined(parts: &[Self], axis: usize) -> Option<Self> {
        let first = &parts.first()?.shape;
        let rest = |shape: &[usize]| [shape.get(..axis), shape.get(axis + 1..)].map(|part| part.map(<[usize]>::to_vec));
        if axis >= first.len() || parts.iter().any(|part| rest(&part.shape) != rest(first)) {
            return None;
        }
        let blocks = first[..axis].iter().product::<usize>();
        let block = |at: usize| parts.iter().flat_map(move |part| &part.of[part.of.len() / blocks * at..][..part.of.len() / blocks]);
        let mut shape = first.clone();
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        Some(Self { shape, of: (0..blocks).flat_map(block).copied().collect() })
    }

    pub fn picked(&self, axis: usize, indices: &[usize]) -> Option<Self> {
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
