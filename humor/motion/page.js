"use strict";
const page = document.documentElement.dataset; // what tests read: drawn, time, error
addEventListener("error", event => { page.error = event.message; });
const one = name => document.querySelector(name);
const data = JSON.parse(one("#motions").textContent);
const bytes = Uint8Array.from(atob(data.blob), c => c.charCodeAt(0));
const kinds = { int16: Int16Array, uint16: Uint16Array, uint8: Uint8Array, float32: Float32Array };
const array = ([kind, at, count]) => new kinds[kind](bytes.buffer, at, count);
const JOINTS = data.parents.length;

// Where a motion's bones are: rows of 3x4 matrices that carry the rest pose to a frame, between frames too.
function pose(motion, frame) {
  const first = Math.min(Math.floor(frame), motion.frames - 1), next = Math.min(first + 1, motion.frames - 1);
  const share = Math.min(frame - first, 1), bones = new Float32Array(12 * JOINTS), world = [];
  if (motion.points) return stretch(motion, first, next, share);
  for (let j = 0; j < JOINTS; j++) {
    const a = 4 * (first * JOINTS + j), b = 4 * (next * JOINTS + j), q = motion.quats, p = data.parents[j];
    let dot = 0, size = 0;
    for (let k = 0; k < 4; k++) dot += q[a + k] * q[b + k];
    const [w, x, y, z] = [0, 1, 2, 3].map(k => (1 - share) * q[a + k] + (dot < 0 ? -share : share) * q[b + k]);
    const s = 2 / (w * w + x * x + y * y + z * z);
    const local = [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y), s * (x * y + w * z), 1 - s * (x * x + z * z),
      s * (y * z - w * x), s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)];
    const rest = motion.rest.subarray(3 * j, 3 * j + 3), turn = [], at = [];
    for (let r = 0; r < 3; r++) {
      for (let c = 0; c < 3; c++) turn.push(p < 0 ? local[3 * r + c] : [0, 1, 2].reduce((sum, k) => sum + world[p].turn[3 * r + k] * local[3 * k + c], 0));
      at.push(p < 0 ? rest[r] + (1 - share) * motion.trans[3 * first + r] + share * motion.trans[3 * next + r]
        : world[p].at[r] + [0, 1, 2].reduce((sum, k) => sum + world[p].turn[3 * r + k] * (rest[k] - motion.rest[3 * p + k]), 0));
      const moved = at[r] - turn[3 * r] * rest[0] - turn[3 * r + 1] * rest[1] - turn[3 * r + 2] * rest[2];
      bones.set([turn[3 * r], turn[3 * r + 1], turn[3 * r + 2], moved], 12 * j + 4 * r);
    }
    world.push({ turn, at });
  }
  return { bones, joints: world.map(joint => joint.at), forward: [world[0].turn[2], world[0].turn[5]] };
}

// The same where a motion has its joints' points alone: each bone is turned and stretched from its rest to its points.
function stretch(motion, first, next, share) {
  const bones = new Float32Array(12 * JOINTS), rest = j => Array.from(motion.rest.subarray(3 * j, 3 * j + 3));
  const joints = data.parents.map((_, j) => [0, 1, 2].map(k => (1 - share) * motion.points[3 * (first * JOINTS + j) + k] + share * motion.points[3 * (next * JOINTS + j) + k]));
  data.parents.forEach((p, j) => {
    const from = p < 0 ? rest(j) : rest(p), to = p < 0 ? joints[j] : joints[p];
    const before = p < 0 ? [0, 0, 1] : minus(rest(j), from), after = p < 0 ? before : minus(joints[j], to);
    const [a, b] = [unit(before), unit(after)], v = cross(a, b), c = a[0] * b[0] + a[1] * b[1] + a[2] * b[2], d = 1 / Math.max(1 + c, 1e-6);
    const scale = Math.hypot(...after) / (Math.hypot(...before) || 1), skew = [0, -v[2], v[1], v[2], 0, -v[0], -v[1], v[0], 0];
    for (let r = 0; r < 3; r++) {
      const row = [0, 1, 2].map(k => scale * ((r === k ? c : 0) + skew[3 * r + k] + v[r] * v[k] * d));
      bones.set([...row, to[r] - row[0] * from[0] - row[1] * from[1] - row[2] * from[2]], 12 * j + 4 * r);
    }
  });
  return { bones, joints, forward: [0, -1] };
}

const canvas = one("canvas"), gl = canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
if (!gl) { one("h1 small").textContent = "This page needs WebGL 2, which this browser has not."; throw new Error("no WebGL 2"); }
function program(vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, "#version 300 es\nprecision highp float;\n" + text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  ["position", "normal", "bone", "weight"].forEach((name, place) => gl.bindAttribLocation(made, place, name));
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) || "shader");
  return new Proxy({}, { get: (_, name) => name === "it" ? made : gl.getUniformLocation(made, name) });
}
const skin = program(`uniform mat4 camera; uniform vec4 bones[${3 * JOINTS}]; uniform float shadow;
  in vec3 position, normal; in vec4 bone, weight; out vec3 facing;
  void main() {
    vec3 at = vec3(0), n = vec3(0);
    for (int k = 0; k < 4; k++) {
      int b = 3 * int(bone[k]); float w = weight[k] / (weight.x + weight.y + weight.z + weight.w);
      at += w * vec3(dot(bones[b], vec4(position, 1)), dot(bones[b + 1], vec4(position, 1)), dot(bones[b + 2], vec4(position, 1)));
      n += w * vec3(dot(bones[b].xyz, normal), dot(bones[b + 1].xyz, normal), dot(bones[b + 2].xyz, normal));
    }
    if (shadow > 0.) { at.xy -= max(at.z, 0.) * vec2(-.35, -.25); at.z = .003; }
    facing = n; gl_Position = camera * vec4(at, 1);
  }`, `uniform vec3 colour, toward; uniform float shadow, alpha; in vec3 facing; out vec4 shown;
  void main() {
    vec3 n = normalize(facing);
    float light = .36 + .14 * n.z + .3 * max(dot(n, normalize(vec3(.35, .25, 1))), 0.) + .5 * max(dot(n, toward), 0.);
    shown = vec4(shadow > 0. ? colour : colour * light, 1) * alpha;
  }`);
const floor = program(`uniform mat4 camera; uniform vec2 middle; in vec3 position; out vec2 at;
  void main() { at = middle + 9. * position.xy; gl_Position = camera * vec4(at, 0, 1); }`,
`uniform vec3 colour; uniform vec2 middle; in vec2 at; out vec4 shown;
  void main() {
    vec2 near = abs(fract(at - .5) - .5) / (1.2 * fwidth(at));
    float line = (1. - min(min(near.x, near.y), 1.)) * smoothstep(8., 1.5, distance(at, middle));
    shown = vec4(colour, 1) * line;
  }`);

// A mesh on the device: arrays of floats for positions and normals, of bytes for bones and weights.
function uploaded(positions, normals, bones, weights, faces) {
  const vao = gl.createVertexArray();
  gl.bindVertexArray(vao);
  [[positions, 3, gl.FLOAT], [normals, 3, gl.FLOAT], [bones, 4, gl.UNSIGNED_BYTE], [weights, 4, gl.UNSIGNED_BYTE]].forEach(([values, size, kind], place) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, kind, false, 0, 0);
  });
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
  return { vao, count: faces.length };
}
const minus = (a, b) => a.map((x, k) => x - b[k]), cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = a => a.map(x => x / (Math.hypot(...a) || 1));
function body(mesh) {
  const positions = Float32Array.from(array(mesh), x => x / 1e4), faces = array(data.faces), normals = new Float32Array(positions.length);
  const corner = v => Array.from(positions.subarray(3 * v, 3 * v + 3));
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [0, 1, 2].map(k => corner(faces[f + k])), normal = cross(minus(b, a), minus(c, a));
    for (let k = 0; k < 9; k++) normals[3 * faces[f + Math.floor(k / 3)] + k % 3] += normal[k % 3];
  }
  return uploaded(positions, normals, array(data.bones), array(data.weights), faces);
}
// Bones as spindles from joint to joint, each moved by its parent alone, or by itself where it stretches; a knob at each end.
function spindles(rest, stretches) {
  const positions = [], normals = [], bones = [], at = j => Array.from(rest.subarray(3 * j, 3 * j + 3));
  const spindle = (from, to, wide, middle, bone) => {
    const along = unit(minus(to, from)), side = unit(cross(along, Math.abs(along[0]) < .9 ? [1, 0, 0] : [0, 1, 0])), other = cross(along, side);
    const ring = Array.from({ length: 8 }, (_, k) => from.map((x, i) => x + middle * (to[i] - x) + wide * (Math.cos(k * Math.PI / 4) * side[i] + Math.sin(k * Math.PI / 4) * other[i])));
    ring.forEach((point, k) => [[from, ring[(k + 1) % 8], point], [to, point, ring[(k + 1) % 8]]].forEach(([a, b, c]) => {
      const normal = unit(cross(minus(b, a), minus(c, a)));
      for (const corner of [a, b, c]) { positions.push(...corner); normals.push(...normal); bones.push(bone, 0, 0, 0); }
    }));
  };
  for (let j = 0; j < JOINTS; j++) {
    const knob = at(j), head = j === data.head, up = size => knob.map((x, k) => x + (k === 1 ? size : 0));
    spindle(up(head ? -.03 : -.022), up(head ? .17 : .022), head ? .06 : .022, .5, j);
    if (j) spindle(at(data.parents[j]), knob, .03, .2, stretches ? j : data.parents[j]);
  }
  const count = bones.length / 4;
  return uploaded(new Float32Array(positions), new Float32Array(normals), new Uint8Array(bones), new Uint8Array(4 * count).map((_, k) => k % 4 ? 0 : 255), Uint32Array.from({ length: count }, (_, k) => k));
}

const meshes = data.meshes.map(body), main = one("main"), play = one("#play"), slider = one("#time"), view = one("#view");
const quad = uploaded(new Float32Array([-1, -1, 0, 1, -1, 0, -1, 1, 0, 1, 1, 0]), new Float32Array(12), new Uint8Array(16), new Uint8Array(16), new Uint16Array([0, 1, 2, 2, 1, 3]));
const motions = data.motions.map(clip => {
  const motion = { ...clip, trans: array(clip.trans), rest: array(clip.rest), tile: document.createElement("button"), mesh: meshes[clip.mesh] };
  for (const kind of ["quats", "points"]) if (clip[kind]) motion[kind] = array(clip[kind]);
  motion.spindles = spindles(motion.rest, !!motion.points);
  const [x, y] = pose(motion, 0).forward;
  motion.heading = Math.atan2(y, x);
  motion.tile.append(Object.assign(document.createElement("span"), { textContent: clip.name }));
  motion.tile.setAttribute("aria-label", `${clip.name}: alone or among all`);
  main.append(motion.tile);
  return motion;
});
const last = Math.max(...motions.map(motion => motion.frames)) - 1, hash = new URLSearchParams(location.hash.slice(1));
let time = Number(hash.get("t") || 0), playing = !hash.has("paused") && !matchMedia("(prefers-reduced-motion: reduce)").matches, yaw = .6, pitch = .22, zoom = 1, drawn = 0, before = 0;
slider.max = last / data.fps;
if (!meshes.length) view.value = "bones", view.hidden = true;
if (hash.has("view")) view.value = hash.get("view");
one("h1 small").textContent = `${motions.length} × ${(last / data.fps).toFixed(1)} s`;
const choose = tile => { main.classList.toggle("alone", !!tile); motions.forEach(motion => motion.tile.classList.toggle("chosen", motion.tile === tile)); };
const seek = value => { time = Math.min(Math.max(value, 0), last / data.fps); };
const toggle = () => { playing = !playing; if (playing && time >= last / data.fps) time = 0; };
if (hash.has("alone")) choose(motions[Number(hash.get("alone"))]?.tile);
play.onclick = toggle;
slider.oninput = () => { playing = false; seek(Number(slider.value)); };
addEventListener("keydown", event => {
  const step = delta => { playing = false; seek((Math.round(time * data.fps) + delta) / data.fps); };
  const act = { " ": toggle, ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => seek(0), End: () => seek(last), Escape: () => choose(null), "+": () => { zoom *= 1.15; }, "-": () => { zoom /= 1.15; },
    m: () => { if (!view.hidden) view.selectedIndex = (view.selectedIndex + 1) % 3; } }[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  event.preventDefault();
  act();
});
let drag = null;
main.addEventListener("pointerdown", event => { drag = { x: event.clientX, y: event.clientY, far: 0 }; });
addEventListener("pointermove", event => {
  if (!drag || !event.buttons) return;
  yaw -= (event.clientX - drag.x) / 120;
  pitch = Math.min(Math.max(pitch + (event.clientY - drag.y) / 200, .02), 1.4);
  drag = { x: event.clientX, y: event.clientY, far: drag.far + Math.hypot(event.movementX, event.movementY) };
});
main.addEventListener("click", event => {
  const tile = event.target.closest("button");
  if (tile && !(drag?.far > 6)) choose(main.classList.contains("alone") ? null : tile);
});

// World to picture, z up, the body in the middle. Column by column.
function camera(motion, middle, aspect) {
  const angle = motion.heading + yaw, [c, s] = [Math.cos(pitch), Math.sin(pitch)], scale = 1 / Math.tan(.26), away = Math.max(2.2, 1.7 / aspect) / 2 * scale / zoom;
  const back = [c * Math.cos(angle), c * Math.sin(angle), s], right = [-Math.sin(angle), Math.cos(angle), 0], up = cross(back, right);
  const eye = middle.map((x, k) => x + away * back[k]), along = axis => -axis.reduce((sum, x, k) => sum + x * eye[k], 0), near = .1, far = 60;
  const depth = (near + far) / (near - far), shift = 2 * near * far / (near - far), columns = [0, 1, 2].map(k => [right[k] * scale / aspect, up[k] * scale, depth * back[k], -back[k]]);
  return new Float32Array([...columns.flat(), along(right) * scale / aspect, along(up) * scale, depth * along(back) + shift, -along(back)]);
}
function middleOf(motion, frame) { // follows the body smoothly
  const from = Math.max(0, Math.floor(frame) - 12), to = Math.min(motion.frames - 1, Math.floor(frame) + 13), sum = [0, 0, 0];
  for (let f = from; f <= to; f++) sum.forEach((_, k) => { sum[k] += motion.trans[3 * f + k] / (to - from + 1); });
  return [sum[0] + motion.rest[0], sum[1] + motion.rest[1], Math.max(sum[2] + motion.rest[2] - .06, .6)];
}
const colours = () => Object.fromEntries(["body", "stage", "line", "accent"].map(name => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [name, [1, 3, 5].map(k => parseInt(hex.slice(k, k + 2), 16) / 255)];
}));
function draw(motion, rect, colour, ratio) {
  const frame = Math.min(time * data.fps, motion.frames - 1), { bones } = pose(motion, frame), middle = middleOf(motion, frame), box = [rect.left, innerHeight - rect.bottom, rect.width, rect.height].map(x => Math.round(x * ratio));
  gl.viewport(...box);
  gl.scissor(...box);
  gl.clearColor(...colour.stage, 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  const matrix = camera(motion, middle, rect.width / rect.height), show = (mesh, tint, alpha, shadow) => {
    gl.uniform3fv(skin.colour, tint);
    gl.uniform1f(skin.alpha, alpha);
    gl.uniform1f(skin.shadow, shadow);
    gl.bindVertexArray(mesh.vao);
    gl.drawElements(gl.TRIANGLES, mesh.count, mesh === motion.mesh ? gl.UNSIGNED_SHORT : gl.UNSIGNED_INT, 0);
  };
  gl.useProgram(floor.it);
  gl.uniformMatrix4fv(floor.camera, false, matrix);
  gl.uniform2f(floor.middle, middle[0], middle[1]);
  gl.uniform3fv(floor.colour, colour.line);
  gl.bindVertexArray(quad.vao);
  gl.drawElements(gl.TRIANGLES, quad.count, gl.UNSIGNED_SHORT, 0);
  gl.useProgram(skin.it);
  gl.uniformMatrix4fv(skin.camera, false, matrix);
  gl.uniform3f(skin.toward, -matrix[3], -matrix[7], -matrix[11]);
  gl.uniform4fv(skin.bones, bones);
  const skinned = motion.mesh && view.value !== "bones";
  show(skinned ? motion.mesh : motion.spindles, colour.stage.map(x => .72 * x), 1, 1);
  if (view.value !== "mesh") show(motion.spindles, colour.accent, 1, 0);
  if (skinned && view.value === "both") gl.clear(gl.DEPTH_BUFFER_BIT), gl.colorMask(false, false, false, false), show(motion.mesh, colour.body, 1, 0), gl.colorMask(true, true, true, true), gl.depthFunc(gl.EQUAL);
  if (skinned) show(motion.mesh, colour.body, view.value === "both" ? .62 : 1, 0);
  gl.depthFunc(gl.LESS);
}
function tick(now) {
  if (playing) { time += Math.min(now - before, 100) / 1000 * Number(one("#speed").value); if (time > last / data.fps) time = 0; }
  before = now;
  const ratio = Math.min(devicePixelRatio || 1, 2), [wide, high] = [Math.round(innerWidth * ratio), Math.round(innerHeight * ratio)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  gl.disable(gl.SCISSOR_TEST);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT);
  [gl.SCISSOR_TEST, gl.DEPTH_TEST, gl.BLEND].forEach(what => gl.enable(what));
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const colour = colours();
  for (const motion of motions) {
    const rect = motion.tile.getBoundingClientRect();
    if (rect.width && rect.bottom > 0 && rect.top < innerHeight) draw(motion, rect, colour, ratio);
  }
  slider.value = time;
  one("output").textContent = `${time.toFixed(2)} / ${(last / data.fps).toFixed(1)} s`;
  play.textContent = playing ? "❚❚" : "▶";
  page.drawn = ++drawn;
  page.time = time.toFixed(3);
  const problem = gl.getError();
  if (problem) page.error = `WebGL error ${problem}`;
  requestAnimationFrame(tick);
}
requestAnimationFrame(tick);
