"use strict";
// The WebAssembly module that makes samples, as functions of arrays. It needs no page, so that tests can use it too.
class Sampler {
  // Opens the model of `description` (bytes of JSON) with `weights` (bytes of safetensors) in the module `code`.
  static async open(code, description, weights) {
    const module = await WebAssembly.compile(code);
    // The module imports sources of randomness and of time, but never calls them.
    const imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      (imports[from] ??= {})[name] = () => { throw new Error(`the sampler asked for ${name}`); };
    }
    const sampler = new Sampler();
    sampler.functions = (await WebAssembly.instantiate(module, imports)).exports;
    sampler.ask("open", [description, weights], description.byteLength);
    return sampler;
  }

  // Latents of the samples `first`, `first + 1`, … of a seed: one per label, or `count` if there are no labels.
  latents(seed, first, count, truncation, labels) {
    return floats(this.ask("latents", labels ? [labels] : [], BigInt(seed), BigInt(first), count, truncation));
  }

  // Images of latents, as red, green, blue and opacity.
  generate(count, latents, labels) {
    return this.ask("generate", labels ? [latents, labels] : [latents], count);
  }

  // Latents along the great circle from `from` to `to`.
  between(from, to, steps) {
    return floats(this.ask("between", [from, to], steps));
  }

  ask(name, inputs, ...numbers) {
    const { memory, input, output, output_len } = this.functions;
    // Addresses beyond two gigabytes come as negative numbers.
    let place = input(inputs.reduce((sum, array) => sum + array.byteLength, 0)) >>> 0;
    for (const array of inputs) {
      new Uint8Array(memory.buffer).set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), place);
      place += array.byteLength;
    }
    const succeeded = this.functions[name](...numbers);
    const answer = new Uint8Array(memory.buffer, output() >>> 0, output_len() >>> 0).slice();
    if (!succeeded) throw new Error(new TextDecoder().decode(answer));
    return answer;
  }
}

const floats = bytes => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

// Bytes that a page holds as gzip in base64.
async function unpacked(base64) {
  const packed = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
