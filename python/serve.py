"""Serves an exported generator or decoder: GET /sample?label=7&seed=3&n=5 answers with a PNG of n images side by side.

Needs onnxruntime, numpy and pillow. Usage: python serve.py MODEL.onnx [PORT]
"""

import io
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import numpy
import onnxruntime
from PIL import Image

CLASSES = 10  # the server checks labels: not every ONNX runtime does
LARGEST = 64  # images per request

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
inputs = {each.name: each for each in session.get_inputs()}
latent_dim = inputs["latents"].shape[1]


def sample(seed, n, label):
    """n images (n, C, H, W) in [0, 1]; the same seed and n give the same images."""
    latents = numpy.random.default_rng(seed).standard_normal((n, latent_dim), numpy.float32)
    feed = {"latents": latents}
    if "labels" in inputs:
        feed["labels"] = numpy.full(n, label, numpy.int64)
    (images,) = session.run(["images"], feed)
    return images


def png(images):
    """One row of images as the bytes of a PNG."""
    row = numpy.concatenate(list(images), axis=2)  # (C, H, n·W)
    pixels = (row.clip(0, 1) * 255).round().astype(numpy.uint8).transpose(1, 2, 0).squeeze()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlparse(self.path)
        if url.path != "/sample":
            return self.send_error(404, "the only path is /sample")
        try:
            query = {key: int(values[-1]) for key, values in parse_qs(url.query).items()}
        except ValueError:
            return self.send_error(400, "label, seed and n are whole numbers")
        seed, n, label = query.get("seed", 0), query.get("n", 1), query.get("label", 0)
        if seed < 0 or not 1 <= n <= LARGEST or not 0 <= label < CLASSES:
            return self.send_error(400, f"n is 1 to {LARGEST}, label 0 to {CLASSES - 1}, seed at least 0")
        body = png(sample(seed, n, label))
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
    print(f"http://127.0.0.1:{port}/sample?label=7&n=5", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
