//! Brings a graph whose sizes are known to the operators that the runtime's layers are found among: what depends on no input becomes a
//! constant, `Gemm` a product and a sum, attention the form that this crate writes.

use edge_seg_model::{GraphFact, Numbers};

use super::{Facts, Foreign, attribute, dims_of, floats_of};
use crate::onnx::proto::{FLOAT, INT64, NodeProto, TensorProto};

const INT32: i32 = 6;
const BOOL: i32 = 9;

impl Foreign {
    /// As the runtime computes it best, for inputs of the shapes that `facts` are of.
    pub(crate) fn simplified(mut self, facts: &Facts) -> (Self, Vec<super::attention::Attention>) {
        self.fold(facts);
        self.skip_casts(facts);
        self.split_gemms();
        let attentions = self.regular_attention(facts);
        self.tidy();
        (self, attentions)
    }

    /// Replaces values that depend on no input by constants.
    fn fold(&mut self, facts: &Facts) {
        let outputs: Vec<String> = self.graph.output.iter().map(|output| output.name.clone()).collect();
        let mut constants = Vec::new();
        for output in self.graph.node.iter().flat_map(|node| &node.output).filter(|output| !outputs.contains(output)) {
            let fact = facts.get(output).filter(|fact| fact.known.is_some());
            constants.extend(fact.and_then(|fact| tensor(output, fact)));
        }
        let known: std::collections::HashSet<String> = constants.iter().map(|tensor| tensor.name.clone()).collect();
        for node in &mut self.graph.node {
            node.output.iter_mut().filter(|output| known.contains(*output)).for_each(String::clear);
        }
        self.graph.node.retain(|node| node.output.iter().any(|output| !output.is_empty()));
        self.graph.initializer.append(&mut constants);
        self.tidy();
    }

    /// Old exporters cast to the type that is there already.
    fn skip_casts(&mut self, facts: &Facts) {
        for at in 0..self.graph.node.len() {
            let node = &self.graph.node[at];
            let to = attribute(node, "to").filter(|_| node.op_type == "Cast").map(|to| to.i);
            let ([of], [copy]) = (node.input.as_slice(), node.output.as_slice()) else { continue };
            if to.is_some() && to == facts.get(of).and_then(|fact| fact.data_type).map(i64::from) {
                self.skip(&copy.clone(), &of.clone());
            }
        }
        self.tidy();
    }

    fn split_gemms(&mut self) {
        for at in 0..self.graph.node.len() {
            let node = self.graph.node[at].clone();
            if node.op_type == "Gemm" && self.split_gemm(&node).is_some() {
                self.graph.node[at].output.clear();
            }
        }
        self.graph.node.retain(|node| !node.output.is_empty());
        self.tidy();
    }

    fn split_gemm(&mut self, node: &NodeProto) -> Option<()> {
        let flag = |name: &str| attribute(node, name).is_some_and(|a| a.i != 0);
        let factor = |name: &str| attribute(node, name).map_or(1.0, |a| a.f);
        if flag("transA") {
            return None;
        }
        let weight = self.initializer(&node.input[1])?;
        let (dims, mut values) = (dims_of(weight), floats_of(weight)?);
        let [rows, columns] = dims[..] else { return None };
        let mut dims = [rows, columns];
        if flag("transB") {
            values = super::super::graph::transposed(&values, rows);
            dims = [columns, rows];
        }
        values.iter_mut().for_each(|v| *v *= factor("alpha"));
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => {
                let bias = self.initializer(name)?;
                let mut values = floats_of(bias)?;
                values.iter_mut().for_each(|v| *v *= factor("beta"));
                if values.len() == 1 {
                    values.resize(dims[1], values[0]);
                }
                Some(values).filter(|values| values.len() == dims[1]).map(Some)?
            }
        };
        let weight = self.floats(&dims, &values);
        let output = node.output[0].clone();
        match bias {
            None => {
                self.op_to("MatMul", &[&node.input[0], &weight], vec![], &output);
            }
            Some(bias) => {
                let product = self.op("MatMul", &[&node.input[0], &weight], vec![]);
                let bias = self.floats(&[dims[1]], &bias);
                self.op_to("Add", &[&product, &bias], vec![], &output);
            }
        }
        Some(())
    }
}

fn tensor(name: &str, fact: &GraphFact) -> Option<TensorProto> {
    let known = fact.known.as_ref()?;
    let raw_data = match (&known.numbers, fact.data_type?) {
        (Numbers::Floats(values), FLOAT) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        (Numbers::Integers(values), INT64) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        (Numbers::Integers(values), INT32) => values.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect(),
        (Numbers::Integers(values), BOOL) => values.iter().map(|v| u8::from(*v != 0)).collect(),
        _ => return None,
    };
    let dims = known.shape.iter().map(|dim| *dim as i64).collect();
    Some(TensorProto { dims, data_type: fact.data_type?, name: name.into(), raw_data, ..Default::default() })
}
