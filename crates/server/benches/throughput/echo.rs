//! The reference: a server that answers every frame with a fixed frame, without looking at it.

use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;

use protocol::encode_frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes that are read at once, as many as by the shop.
const BUFFER_BYTES: usize = 8 * 1024;

/// Connections that the kernel may queue before they are accepted, as many as for the shop.
const BACKLOG: u32 = 4096;

/// Prints its address, then serves until stdin closes. `response_bytes` is the length of a response with its header.
#[tokio::main]
pub(crate) async fn run(response_bytes: usize) {
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(BACKLOG).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let response: Arc<[u8]> = encode_frame(&vec![b'x'; response_bytes - 4]).unwrap().into();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let response = Arc::clone(&response);
        // A peer that resets its connection ends only its own task.
        tokio::spawn(async move { serve(stream, &response).await });
    }
}

async fn serve(mut stream: TcpStream, response: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (Vec::with_capacity(BUFFER_BYTES), Vec::new());
    while stream.read_buf(&mut input).await? != 0 {
        let mut start = 0;
        while let Some(length) = frame_length(&input[start..]) {
            start += length;
            output.extend_from_slice(response);
        }
        input.drain(..start);
        stream.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

/// Returns the length of the first frame with its header, if it is complete.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let (header, _) = bytes.split_first_chunk::<4>()?;
    let length = 4 + usize::try_from(u32::from_be_bytes(*header)).ok()?;
    (bytes.len() >= length).then_some(length)
}
