//! The text towers: post-norm BERT with mean pooling, CLIP's causal transformer, and one that reads the whole padded context.

use super::graph::{Attr, Graph, Layers, Value};
use super::proto::{self, Dim};
use crate::Result;
use crate::checkpoint::Model;
use crate::config::TextArch;

/// Added to the logits of tokens that must not be seen: its exponential is zero in f32, and it fits in f16.
const UNSEEN: f32 = -1e4;

pub(super) fn write(model: &Model, layers: &Layers) -> Result<(Vec<u8>, Vec<String>)> {
    let mut graph = Graph::new("text", model, layers);
    let symbol = |s: &str| Dim::Param(s.into());
    let ids = graph.input("ids", proto::INT64, &[symbol("batch"), symbol("tokens")]);
    let mask = graph.input("mask", proto::INT64, &[symbol("batch"), symbol("tokens")]);
    let mask = graph.op("text.mask", "Cast", &[&mask], vec![("to", Attr::Int(proto::FLOAT.into()))]); // [batch, tokens]
    let tokens = graph.op("text.shape", "Shape", &[&ids], vec![]);
    let tokens = graph.slice("text.tokens", &tokens, 0, 1, 2); // [1]: how many tokens
    let mut text = Text { graph, model, tokens };
    let pooled = match model.config.text.arch {
        TextArch::Bert => text.bert(&ids, &mask),
        TextArch::Clip => text.clip(&ids, &mask),
        TextArch::Padded => text.padded(&ids),
        TextArch::Mean => text.mean(&ids, &mask),
    };
    let mut graph = text.graph;
    let embedded = match (model.config.text.projection, model.config.text.projection_bias) {
        (false, _) => pooled,
        (true, false) => graph.project("text.projection", &pooled),
        (true, true) => graph.linear("text.projection", &pooled),
    };
    graph.output("text", &embedded, &[symbol("batch"), Dim::Value(model.config.embedding_dim as i64)]);
    Ok(graph.finish())
}

struct Text<'a> {
    graph: Graph<'a>,
    model: &'a Model,
    tokens: Value,
}

impl Text<'_> {
    /// The first `tokens` entries of `x` along `axis`.
    fn first(&mut self, name: &str, x: &Value, axis: i64) -> Value {
        let (zero, axis) = (self.graph.ints(&[0]), self.graph.ints(&[axis]));
        self.graph.op(name, "Slice", &[x, &zero, &self.tokens.clone(), &axis], vec![])
    }

    fn embed(&mut self, ids: &Value, positions: &[f32]) -> Value {
        let tower = &self.model.config.text;
        let words = self.graph.rows("text.word_embeddings", ids);
        let positions = self.graph.floats("text.position_embeddings", &[tower.positions, tower.width], positions);
        let positions = self.first("text.positions", &positions, 0);
        self.graph.add("text.embedded", &words, &positions)
    }

    fn attention(&mut self, name: &str, x: &Value, bias: Option<&Value>) -> Value {
        let tower = &self.model.config.text;
        let [query, key, value] = [0, 1, 2].map(|part| self.graph.qkv_part(name, part, tower.heads, x));
        let mixed = self.graph.attention(&format!("{name}.attn"), [&query, &key, &value], bias, tower.heads, tower.width);
        self.graph.linear(&format!("{name}.attn.proj"), &mixed)
    }

    /// BERT: LayerNorm after each residual sum; the mean of the real tokens.
    fn bert(&mut self, ids: &Value, mask: &Value) -> Value {
        let tower = &self.model.config.text;
        let kind = &self.graph.tensor("text.type_embedding").data;
        let positions = &self.graph.tensor("text.position_embeddings").data;
        let positions: Vec<f32> = positions.iter().zip(kind.iter().cycle()).map(|(p, k)| p + k).collect();
        let embedded = self.embed(ids, &positions);
        let mut stream = self.graph.norm("text.embedding_norm", &embedded, tower.norm_eps);

        let bias = self.padding(mask);
        for n in 0..tower.layers {
            let name = format!("text.blocks.{n}");
            let mixed = self.attention(&name, &stream, Some(&bias));
            let sum = self.graph.add(&format!("{name}.attn.sum"), &stream, &mixed);
            let sum = self.graph.norm(&format!("{name}.norm1"), &sum, tower.norm_eps);
            let hidden = self.graph.mlp(&format!("{name}.mlp"), tower.activation, &sum);
            let sum = self.graph.add(&format!("{name}.mlp.sum"), &sum, &hidden);
            stream = self.graph.norm(&format!("{name}.norm2"), &sum, tower.norm_eps);
        }

        self.mean_of(mask, &stream)
    }

    /// Added to the logits: nothing for real tokens, [`UNSEEN`] for padding. `[batch, 1, 1, tokens]`
    fn padding(&mut self, mask: &Value) -> Value {
        let (one, unseen) = (self.graph.scalar(1.0), self.graph.scalar(UNSEEN));
        let padding = self.graph.op("text.padding", "Sub", &[&one, mask], vec![]);
        let bias = self.graph.op("text.padding.bias", "Mul", &[&padding, &unseen], vec![]);
        let axes = self.graph.ints(&[1, 2]);
        self.graph.op("text.padding.logits", "Unsqueeze", &[&bias, &axes], vec![])
    }

    /// The mean of the real tokens.
    fn mean_of(&mut self, mask: &Value, stream: &Value) -> Value {
        let one = self.graph.scalar(1.0);
        let total = self.select(mask, stream);
        let axis = self.axis(1);
        let count = self.graph.op("text.count", "ReduceSum", &[mask, &axis], vec![("keepdims", Attr::Int(1))]);
        let count = self.graph.op("text.count.floor", "Max", &[&count, &one], vec![]);
        self.graph.op("text.mean", "Div", &[&total, &count], vec![])
    }

    /// TIPS: LayerNorm before each branch, all real tokens seen, their mean.
    fn mean(&mut self, ids: &Value, mask: &Value) -> Value {
        let tower = &self.model.config.text;
        let positions = &self.graph.tensor("text.position_embeddings").data;
        let stream = self.embed(ids, positions);
        let bias = self.padding(mask);
        let stream = self.pre_norm_blocks(stream, Some(&bias));
        let normed = self.graph.norm("text.norm", &stream, tower.norm_eps);
        self.mean_of(mask, &normed)
    }

    /// CLIP: LayerNorm before each branch, no look ahead; the last real token. Padding comes after it, so that nothing real sees it.
    fn clip(&mut self, ids: &Value, mask: &Value) -> Value {
        let tower = &self.model.config.text;
        let positions = &self.graph.tensor("text.position_embeddings").data;
        let mut stream = self.embed(ids, positions);
        let longest = self.model.config.context;
        let ahead: Vec<f32> = (0..longest).flat_map(|i| (0..longest).map(move |j| if j > i { UNSEEN } else { 0.0 })).collect();
        let ahead = self.graph.floats("text.ahead", &[longest, longest], &ahead);
        let ahead = self.first("text.ahead.rows", &ahead, 0);
        let bias = self.first("text.ahead.square", &ahead, 1); // [tokens, tokens]
        stream = self.pre_norm_blocks(stream, Some(&bias));

        let numbers: Vec<f32> = (1..=longest).map(|n| n as f32).collect();
        let numbers = self.graph.floats("text.numbers", &[longest], &numbers);
        let numbers = self.first("text.numbers.used", &numbers, 0);
        let axis = self.axis(1);
        let count = self.graph.op("text.count", "ReduceSum", &[mask, &axis], vec![("keepdims", Attr::Int(1))]);
        let last = self.graph.op("text.last", "Equal", &[&numbers, &count], vec![]); // [batch, tokens]
        let last = self.graph.op("text.last.f32", "Cast", &[&last], vec![("to", Attr::Int(proto::FLOAT.into()))]);
        let token = self.select(&last, &stream);
        self.graph.norm("text.norm", &token, tower.norm_eps)
    }

    /// Blocks whose branches each begin with a LayerNorm.
    fn pre_norm_blocks(&mut self, mut stream: Value, bias: Option<&Value>) -> Value {
        let tower = &self.model.config.text;
        for n in 0..tower.layers {
            let name = format!("text.blocks.{n}");
            let normed = self.graph.norm(&format!("{name}.norm1"), &stream, tower.norm_eps);
            let mixed = self.attention(&name, &normed, bias);
            stream = self.graph.add(&format!("{name}.attn.sum"), &stream, &mixed);
            let normed = self.graph.norm(&format!("{name}.norm2"), &stream, tower.norm_eps);
            let hidden = self.graph.mlp(&format!("{name}.mlp"), tower.activation, &normed);
            stream = self.graph.add(&format!("{name}.mlp.sum"), &stream, &hidden);
        }
        stream
    }

    /// SigLIP, CLIPA: the text fills the whole context with padding that all tokens see, and its last place is taken.
    fn padded(&mut self, ids: &Value) -> Value {
        let (tower, longest) = (&self.model.config.text, self.model.config.context);
        let (zero, one) = (self.graph.ints(&[0]), self.graph.ints(&[1]));
        let pad = self.graph.ints(&[self.model.config.pad_token]);
        // Places beyond the text's own take the padding that is put behind it.
        let first = self.graph.slice("text.pad.first", ids, 1, 0, 1);
        let nothing = self.graph.op("text.pad.nothing", "Mul", &[&first, &zero], vec![]);
        let column = self.graph.op("text.pad.column", "Add", &[&nothing, &pad], vec![]);
        let longer = self.graph.op("text.pad.longer", "Concat", &[ids, &column], vec![("axis", Attr::Int(1))]);
        let places: Vec<i64> = (0..longest as i64).collect();
        let places = self.graph.ints(&places);
        let places = self.graph.op("text.pad.places", "Min", &[&places, &self.tokens.clone()], vec![]);
        let filled = self.graph.op("text.pad.filled", "Gather", &[&longer, &places], vec![("axis", Attr::Int(1))]); // [batch, context]

        let words = self.graph.rows("text.word_embeddings", &filled);
        let positions = &self.graph.tensor("text.position_embeddings").data;
        let positions = self.graph.floats("text.position_embeddings", &[longest, tower.width], &positions[..longest * tower.width]);
        let stream = self.graph.add("text.embedded", &words, &positions);
        let stream = self.pre_norm_blocks(stream, None);
        let last = self.graph.slice("text.last", &stream, 1, longest as i64 - 1, longest as i64);
        let last = self.graph.op("text.pool", "Squeeze", &[&last, &one], vec![]);
        self.graph.norm("text.norm", &last, tower.norm_eps)
    }

    fn axis(&mut self, axis: i64) -> Value {
        self.graph.ints(&[axis])
    }

    /// Sum of the tokens of `stream` `[batch, tokens, width]`, each times its weight `[batch, tokens]`.
    fn select(&mut self, weights: &Value, stream: &Value) -> Value {
        let axis = self.axis(1);
        let row = self.graph.op("text.pool.weights", "Unsqueeze", &[weights, &axis], vec![]); // [batch, 1, tokens]
        let sum = self.graph.op("text.pool.sum", "MatMul", &[&row, stream], vec![]);
        self.graph.op("text.pool", "Squeeze", &[&sum, &axis], vec![]) // [batch, width]
    }
}
