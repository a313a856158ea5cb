use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::task::yield_now;

use super::access::Access;
use super::connections::{Client, InMemory};
use super::{Hub, ServeOptions, routes};
use crate::{Error, Result};

/// How often the server may go on before what it has not answered counts as waiting for more.
const TURNS: usize = 64;
/// What a client takes of answers.
const MOST_BYTES: usize = 1 << 20;

/// What the server answers to a client that sends these bytes and no more, without a socket in between. Answers without end are cut.
///
/// # Errors
/// [`Io`](edge_seg_model::Error::Io) if the system gives no runtime.
#[doc(hidden)]
pub fn answer_in_memory(options: &ServeOptions, hub: Arc<Hub>, bytes: &[u8]) -> Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(Error::io("http"))?;
    let access = Arc::new(Access::new(options.token.clone(), options.hosts.clone()));
    let service = routes::router(hub, access, options.fps).into_make_service_with_connect_info::<Client>();
    let (client, server) = duplex(1 << 16);
    let bytes = bytes.to_vec();
    Ok(runtime.block_on(async move {
        tokio::spawn(async move { axum::serve(InMemory(Some(server)), service).await });
        let (mut reader, mut writer) = split(client);
        let sending = tokio::spawn(async move {
            // The server may have closed it.
            let _ = writer.write_all(&bytes).await;
            for _ in 0..TURNS {
                yield_now().await;
            }
            let _ = writer.shutdown().await;
        });
        let mut answers = Vec::new();
        while answers.len() < MOST_BYTES && reader.read_buf(&mut answers).await.is_ok_and(|count| count > 0) {}
        sending.abort();
        answers
    }))
}
