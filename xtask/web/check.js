// Checks a page that `waxwork export --format web` wrote: its sampler must give the images that the command gives.
//
//   node check.js PAGE.html SAMPLES.npy SEED CLASSES
//
// SAMPLES.npy has the first samples of SEED, with classes 0, 1, … CLASSES − 1 in turn if there are any.
"use strict";
const fs = require("node:fs");
const assert = require("node:assert");

const [pagePath, samplesPath, seed, classes] = process.argv.slice(2);
const page = fs.readFileSync(pagePath, "utf8");
const part = id => page.match(new RegExp(`<script type="application/octet-stream" id="${id}">([^<]*)</script>`))[1];
const script = page.match(/<script>\n("use strict";\n\/\/ The WebAssembly module[^]*?)<\/script>/)[1];
const { Sampler, unpacked } = new Function(`${script}\nreturn { Sampler, unpacked };`)();

// The values of an array of 32-bit floats, and its shape.
function npy(path) {
  const bytes = fs.readFileSync(path);
  const start = 10 + bytes.readUInt16LE(8);
  const header = bytes.toString("latin1", 10, start);
  assert.match(header, /'descr': '<f4'.*'fortran_order': False/);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").map(Number);
  return { shape, values: new Float32Array(bytes.buffer.slice(bytes.byteOffset + start)) };
}

(async () => {
  const [code, description, weights] = await Promise.all(["code", "description", "weights"].map(id => unpacked(part(id))));
  const sampler = await Sampler.open(code, description, weights);
  const { shape: [count, channels, height, width], values } = npy(samplesPath);
  const labels = Number(classes) ? Uint32Array.from({ length: count }, (_, place) => place % classes) : null;
  let pixels, latents;
  const times = [];
  for (let turn = 0; turn < 20; turn++) {
    const start = performance.now();
    latents = sampler.latents(seed, 0, count, 0, labels);
    pixels = sampler.generate(count, latents, labels);
    times.push(performance.now() - start);
  }

  let differing = 0;
  for (let place = 0; place < count; place++) {
    for (let pixel = 0; pixel < height * width; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        const plane = place * channels + Math.min(channel, channels - 1);
        const expected = Math.round(255 * values[plane * height * width + pixel]);
        const found = pixels[4 * (place * height * width + pixel) + channel];
        assert(Math.abs(found - expected) <= 1, `sample ${place}, pixel ${pixel}: ${found} instead of ${expected}`);
        differing += found !== expected;
      }
    }
  }
  assert(differing / pixels.length < 0.001, `${differing} of ${pixels.length} values differ by a grey level`);

  // Each sample is a function of its number, truncation changes it, and a path starts at its first latents.
  const later = sampler.latents(seed, 3, 1, 0, labels?.subarray(3, 4));
  assert.deepEqual(later, latents.slice(3 * later.length, 4 * later.length));
  assert.notDeepEqual(sampler.latents(seed, 0, count, 0.5, labels), latents);
  const path = sampler.between(latents.subarray(0, later.length), later, 5);
  assert.deepEqual(path.slice(0, later.length), latents.slice(0, later.length));
  assert.equal(path.length, 5 * later.length);

  // Wrong input is an error with a message.
  assert.throws(() => sampler.latents(0, 0, 100000, 0, null), /100000 samples in one call/);
  assert.throws(() => sampler.generate(2, latents.subarray(0, 1), labels), /bytes of (latents|labels) instead of/);
  await assert.rejects(Sampler.open(code, description, weights.subarray(0, weights.length - 4)), /the page/);
  await assert.rejects(Sampler.open(code, new TextEncoder().encode("{}"), weights), /different versions/);

  times.sort((a, b) => a - b);
  console.log(`${count} images like the command's (${differing} of ${pixels.length} values differ by 1/255); ` +
    `first ${times.at(-1).toFixed(0)} ms, median ${times[times.length >> 1].toFixed(1)} ms`);
})().catch(error => { console.error(error); process.exit(1); });
