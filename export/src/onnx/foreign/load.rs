//! Reads a file as any exporter writes it, and brings it to one form: numbers in the file itself, floats of 32 bits, constants as
//! initializers, names that are nobody else's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use prost::Message;

use super::{Foreign, PREFIX, attribute, dims_of};
use crate::onnx::proto::{self, FLOAT, FLOAT16, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::{Error, Result};

const UINT8: i32 = 2;
const UINT16: i32 = 4;
const INT16: i32 = 5;
const INT32: i32 = 6;
const BOOL: i32 = 9;
const DOUBLE: i32 = 11;
const BFLOAT16: i32 = 16;

impl Foreign {
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, its external data included; [`Error::File`] for one that is no ONNX, or holds
    /// operators that are not ONNX's own.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let model = ModelProto::decode(&bytes[..]).map_err(|e| Error::file(&place, "file", "an ONNX file", e.to_string()))?;
        drop(bytes);
        let Some(mut graph) = model.graph.filter(|graph| !graph.node.is_empty()) else {
            return Err(Error::file(place, "graph", "nodes", "none; is it an ONNX file?"));
        };
        if let Some(function) = model.functions.first() {
            let expected = "operators of ONNX alone; write the file anew by onnx.inliner.inline_local_functions";
            return Err(Error::file(place, "functions", expected, format!("{:?} and {} more", function.name, model.functions.len() - 1)));
        }
        check_operators(&place, &graph)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = BTreeMap::new();
        for tensor in &mut graph.initializer {
            take_external(&place, folder, tensor, &mut files)?;
        }
        plain_graph(&place, &mut graph)?;
        separate(&mut graph);
        rename(&mut graph);
        // Before IR version 4 initializers were inputs too.
        let names: Vec<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
        graph.input.retain(|input| !names.contains(&input.name));
        Ok(Self {
            place,
            graph,
            opset: model.opset_import.into_iter().filter(|set| set.domain.is_empty() || set.domain == "ai.onnx").collect(),
            made: 0,
        })
    }
}

fn check_operators(place: &str, graph: &GraphProto) -> Result<()> {
    for node in &graph.node {
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            let how = match node.domain.as_str() {
                "com.microsoft" => {
                    "operators of ONNX alone; export without onnxruntime's transformer optimizer (optimum: without --optimize; onnxruntime: \
                     the file from before optimize_model)"
                }
                _ => "operators of ONNX alone",
            };
            return Err(Error::file(place, format!("node {}", node.name), how, format!("{} of {}", node.op_type, node.domain)));
        }
        for inner in node.attribute.iter().filter_map(|attribute| attribute.g.as_deref()) {
            check_operators(place, inner)?;
        }
    }
    Ok(())
}

/// Reads a constant's bytes from the file beside, if they are there.
fn take_external(place: &str, folder: &Path, tensor: &mut TensorProto, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    if tensor.data_location != 1 && tensor.external_data.is_empty() {
        return Ok(());
    }
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.clone());
    let wrong = |expected: &str, found: String| Error::file(place, format!("external data of {}", tensor.name), expected, found);
    let location = entry("location").ok_or_else(|| wrong("a location", "none".into()))?;
    let inside = Path::new(&location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(wrong("a file beside the ONNX file", location));
    }
    if !files.contains_key(&location) {
        let read = fs::read(folder.join(&location));
        let read = read.map_err(|e| wrong(&format!("{location} beside the ONNX file, where the exporter put it"), e.to_string()))?;
        files.insert(location.clone(), read);
    }
    let file = &files[&location];
    let number = |key: &str, usual: usize| match entry(key) {
        None => Ok(usual),
        Some(text) => text.parse::<usize>().map_err(|_| wrong(&format!("a number as {key}"), text)),
    };
    let offset = number("offset", 0)?;
    let length = number("length", file.len().saturating_sub(offset))?;
    let bytes = offset.checked_add(length).and_then(|end| file.get(offset..end));
    let bytes = bytes.ok_or_else(|| wrong(&format!("{length} bytes from {offset} on in {location}"), format!("{} bytes", file.len())))?;
    tensor.raw_data = bytes.to_vec();
    (tensor.data_location, tensor.external_data) = (0, Vec::new());
    Ok(())
}

fn plain_graph(place: &str, graph: &mut GraphProto) -> Result<()> {
    let (nodes, mut constants) = (std::mem::take(&mut graph.node), Vec::new());
    for mut node in nodes {
        for attribute in &mut node.attribute {
            if let Some(tensor) = &mut attribute.t {
                plain(place, tensor)?;
            }
            if let Some(inner) = &mut attribute.g {
                plain_graph(place, inner)?;
            }
        }
        match constant(&node) {
            Some(tensor) => constants.push(tensor),
            None => {
                if node.op_type == "Cast" {
                    node.attribute.iter_mut().filter(|a| a.name == "to" && is_float(a.i as i32)).for_each(|a| a.i = FLOAT.into());
                }
                graph.node.push(node);
            }
        }
    }
    graph.initializer.append(&mut constants);
    for tensor in &mut graph.initializer {
        plain(place, tensor)?;
    }
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(tensor) = info.kind.as_mut().and_then(|kind| kind.tensor.as_mut()).filter(|tensor| is_float(tensor.elem_type)) {
            tensor.elem_type = FLOAT;
        }
    }
    Ok(())
}

fn is_float(data_type: i32) -> bool {
    [FLOAT, FLOAT16, DOUBLE, BFLOAT16].contains(&data_type)
}

/// A node that is a constant.
fn constant(node: &NodeProto) -> Option<TensorProto> {
    if node.op_type != "Constant" {
        return None;
    }
    let vector = |dims: &[i64], data_type, raw_data| TensorProto { dims: dims.to_vec(), data_type, raw_data, ..Default::default() };
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let ints = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = node.attribute.first().and_then(|a| match a.name.as_str() {
        "value" => a.t.clone(),
        "value_float" => Some(vector(&[], FLOAT, floats(&[a.f]))),
        "value_floats" => Some(vector(&[a.floats.len() as i64], FLOAT, floats(&a.floats))),
        "value_int" => Some(vector(&[], proto::INT64, ints(&[a.i]))),
        "value_ints" => Some(vector(&[a.ints.len() as i64], proto::INT64, ints(&a.ints))),
        _ => None,
    })?;
    Some(TensorProto { name: node.output.first()?.clone(), ..tensor })
}

/// A constant's numbers as raw bytes, floats of all widths as f32.
fn plain(place: &str, tensor: &mut TensorProto) -> Result<()> {
    let raw = !tensor.raw_data.is_empty();
    let from_ints = |size: usize| tensor.int32_data.iter().flat_map(|v| v.to_le_bytes()[..size].to_vec()).collect::<Vec<u8>>();
    let f32s = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let half = |bits: u16| half::f16::from_bits(bits).to_f32();
    let brain = |bits: u16| half::bf16::from_bits(bits).to_f32();
    let wide = |convert: &dyn Fn(u16) -> f32| {
        let stored: Vec<u16> = match raw {
            true => tensor.raw_data.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect(),
            false => tensor.int32_data.iter().map(|v| *v as u16).collect(),
        };
        f32s(stored.into_iter().map(convert).collect())
    };
    let (size, bytes) = match tensor.data_type {
        FLOAT => (4, if raw { None } else { Some(f32s(tensor.float_data.clone())) }),
        FLOAT16 => (4, Some(wide(&half))),
        BFLOAT16 => (4, Some(wide(&brain))),
        DOUBLE => {
            let stored: Vec<f64> = match raw {
                true => tensor.raw_data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                false => tensor.double_data.clone(),
            };
            (4, Some(f32s(stored.into_iter().map(|v| v as f32).collect())))
        }
        proto::INT64 => (8, if raw { None } else { Some(tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect()) }),
        INT32 => (4, if raw { None } else { Some(from_ints(4)) }),
        UINT16 | INT16 => (2, if raw { None } else { Some(from_ints(2)) }),
        BOOL | UINT8 | proto::INT8 => (1, if raw { None } else { Some(from_ints(1)) }),
        other => {
            let expected = "floats, integers of 8 to 64 bits or truth values";
            return Err(Error::file(place, format!("constant {}", tensor.name), expected, format!("ONNX's type {other}")));
        }
    };
    if is_float(tensor.data_type) {
        tensor.data_type = FLOAT;
    }
    if let Some(bytes) = bytes {
        tensor.raw_data = bytes;
    }
    (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data) = (vec![], vec![], vec![], vec![]);
    let count = dims_of(tensor).iter().try_fold(size, |n: usize, dim| n.checked_mul(*dim));
    if count != Some(tensor.raw_data.len()) {
        let expected = format!("numbers for the shape {:?}", tensor.dims);
        return Err(Error::file(place, format!("constant {}", tensor.name), expected, format!("{} bytes", tensor.raw_data.len())));
    }
    Ok(())
}

/// Gives each value a name of its own. PyTorch's exporter gives an inner value the name that an output was asked for, where it makes both of
/// one operator's name; who reads it then means the last one made before.
fn separate(graph: &mut GraphProto) {
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for output in graph.node.iter().flat_map(|node| &node.output).filter(|output| !output.is_empty()) {
        *last.entry(output.clone()).or_default() += 1;
    }
    // The last one is what the graph's outputs mean, and keeps the name.
    let name = |value: &str, nth: usize, of: usize| if nth == of { value.to_owned() } else { format!("{value}#{nth}") };
    for node in &mut graph.node {
        for input in node.input.iter_mut() {
            if let (Some(nth), Some(of)) = (made.get(input), last.get(input)) {
                *input = name(input, *nth, *of);
            }
        }
        for output in node.output.iter_mut().filter(|output| !output.is_empty()) {
            let nth = made.entry(output.clone()).or_default();
            *nth += 1;
            *output = name(output, *nth, last[output.as_str()]);
        }
    }
}

fn rename(graph: &mut GraphProto) {
    let prefixed = |name: &mut String| {
        if !name.is_empty() {
            name.insert_str(0, PREFIX);
        }
    };
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(prefixed);
        node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_deref_mut()).for_each(rename);
    }
    graph.initializer.iter_mut().for_each(|tensor| prefixed(&mut tensor.name));
    graph.input.iter_mut().chain(&mut graph.output).for_each(|info| prefixed(&mut info.name));
}

/// Whether a node's value lies along the last axis.
pub(super) fn along_last(node: &NodeProto, axes: Option<Vec<i64>>, rank: usize) -> bool {
    let axes = axes.or_else(|| attribute(node, "axes").map(|a| a.ints.clone())).or_else(|| attribute(node, "axis").map(|a| vec![a.i]));
    axes.is_some_and(|axes| axes == [-1] || axes == [rank as i64 - 1])
}
