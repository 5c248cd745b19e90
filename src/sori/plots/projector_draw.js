"use strict";
// Two point renderers with one interface: draw(scene). Places are in [-1, 1], `look` is the camera.
const Draw = {
  FAR: 2.6,
  FOCAL: 1.9,

  // Rows of the rotation matrix from world to camera coordinates.
  turn(look) {
    const [cy, sy, cx, sx] = [Math.cos(look.yaw), Math.sin(look.yaw), Math.cos(look.pitch), Math.sin(look.pitch)];
    return [cy, 0, sy, sx * sy, cx, -sx * cy, -cx * sy, sx, cx * cy];
  },

  // Project all points to pixels, into `out` (x, y, depth each).
  project(scene, out) {
    const { places, look, width, height } = scene;
    const t = Draw.turn(look);
    const [ox, oy, oz] = look.target;
    const scale = (Draw.FOCAL * Math.min(width, height)) / 2;
    for (let i = 0; i < places.length; i += 3) {
      const [x, y, z] = [places[i] - ox, places[i + 1] - oy, places[i + 2] - oz];
      const depth = look.distance - (t[6] * x + t[7] * y + t[8] * z);
      const k = depth > 0.05 ? scale / depth : NaN;
      out[i] = width / 2 + k * (t[0] * x + t[1] * y + t[2] * z);
      out[i + 1] = height / 2 - k * (t[3] * x + t[4] * y + t[5] * z);
      out[i + 2] = depth;
    }
    return out;
  },

  size(scene) {
    const crowd = Math.max(2.2, Math.min(7, 260 / Math.sqrt(scene.places.length / 3)));
    return crowd * Draw.FAR * Math.max(0.7, Math.min(scene.width, scene.height) / 700);
  },

  webgl(canvas) {
    const gl = canvas.getContext("webgl", { antialias: true, alpha: false, preserveDrawingBuffer: true });
    if (!gl) return null;
    const compile = (kind, source) => {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      return shader;
    };
    const program = gl.createProgram();
    // `state`: 0 dimmed, 0.5 value without a colour, 1 shown, 2 found, 3 selected.
    gl.attachShader(
      program,
      compile(
        gl.VERTEX_SHADER,
        `attribute vec3 place; attribute vec3 colour; attribute float state;
        uniform mat3 turn; uniform vec3 target; uniform vec2 scale; uniform float distance; uniform float size;
        uniform vec3 paper; varying vec3 ink; varying float rim;
        void main() {
          vec3 p = turn * (place - target);
          float depth = distance - p.z;
          float ahead = state > 2.5 ? -0.9 : state > 1.5 ? -0.5 : 0.0;
          float level = clamp((depth - 0.05) / 8.0, 0.0, 1.0) * 0.5 + ahead * 0.5 + 0.4;
          gl_Position = vec4(p.xy * scale, level * depth, depth);
          float grow = state > 2.5 ? 2.6 : state > 1.5 ? 1.7 : state > 0.5 ? 1.0 : 0.7;
          gl_PointSize = clamp(size * grow / max(depth, 0.05), 1.5, 60.0);
          float haze = clamp((p.z + 1.0) / 2.0, 0.0, 1.0);
          float shown = state > 1.5 ? 1.0 : state > 0.5 ? 0.45 + 0.55 * haze : 0.33;
          ink = mix(paper, colour, shown);
          rim = state > 2.5 ? 1.0 : 0.0;
        }`,
      ),
    );
    gl.attachShader(
      program,
      compile(
        gl.FRAGMENT_SHADER,
        `precision mediump float; varying vec3 ink; varying float rim; uniform vec3 line;
        void main() {
          float r = length(gl_PointCoord - 0.5);
          if (r > 0.5) discard;
          gl_FragColor = vec4(rim > 0.5 && r > 0.34 ? line : ink, 1.0);
        }`,
      ),
    );
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    const at = (name) => gl.getUniformLocation(program, name);
    const uniforms = Object.fromEntries(
      ["turn", "target", "scale", "distance", "size", "paper", "line"].map((name) => [name, at(name)]),
    );
    const buffers = {};
    const send = (name, numbers, count) => {
      buffers[name] ||= gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, numbers, gl.DYNAMIC_DRAW);
      const where = gl.getAttribLocation(program, name);
      gl.enableVertexAttribArray(where);
      gl.vertexAttribPointer(where, count, gl.FLOAT, false, 0, 0);
    };
    return {
      kind: "WebGL",
      gl,
      draw(scene) {
        const { look, width, height } = scene;
        gl.viewport(0, 0, canvas.width, canvas.height);
        gl.clearColor(...scene.paper, 1);
        gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
        if (scene.changed.places) send("place", scene.places, 3);
        if (scene.changed.colours) send("colour", scene.colours, 3);
        if (scene.changed.states) send("state", scene.states, 1);
        scene.changed = {};
        const t = Draw.turn(look);
        const least = Math.min(width, height);
        gl.uniformMatrix3fv(uniforms.turn, false, [t[0], t[3], t[6], t[1], t[4], t[7], t[2], t[5], t[8]]);
        gl.uniform3fv(uniforms.target, look.target);
        gl.uniform2f(uniforms.scale, (Draw.FOCAL * least) / width, (Draw.FOCAL * least) / height);
        gl.uniform1f(uniforms.distance, look.distance);
        gl.uniform1f(uniforms.size, Draw.size(scene) * (canvas.width / width));
        gl.uniform3fv(uniforms.paper, scene.paper);
        gl.uniform3fv(uniforms.line, scene.ink);
        gl.drawArrays(gl.POINTS, 0, scene.places.length / 3);
      },
    };
  },

  // Fallback without WebGL: squares, the farthest first.
  canvas(canvas) {
    const pen = canvas.getContext("2d");
    const css = (r, g, b) => `rgb(${Math.round(255 * r)} ${Math.round(255 * g)} ${Math.round(255 * b)})`;
    let order = null;
    let spots = null;
    return {
      kind: "canvas",
      draw(scene) {
        const { states, colours, paper } = scene;
        const number = states.length;
        if (!order || order.length !== number) {
          order = Uint32Array.from({ length: number }, (_, i) => i);
          spots = new Float32Array(3 * number);
        }
        scene.changed = {};
        const ratio = canvas.width / scene.width;
        pen.setTransform(ratio, 0, 0, ratio, 0, 0);
        pen.fillStyle = css(...paper);
        pen.fillRect(0, 0, scene.width, scene.height);
        Draw.project(scene, spots);
        order.sort((a, b) => states[a] - states[b] || spots[3 * b + 2] - spots[3 * a + 2]);
        const size = Draw.size(scene);
        for (const i of order) {
          const depth = spots[3 * i + 2];
          if (!(depth > 0.05)) continue;
          const state = states[i];
          const haze = Math.max(0, Math.min(1, (scene.look.distance - depth + 1) / 2));
          const shown = state > 1 ? 1 : state > 0.5 ? 0.45 + 0.55 * haze : 0.33;
          const grow = state > 2 ? 2.6 : state > 1 ? 1.7 : state > 0.5 ? 1 : 0.7;
          const side = Math.max(1.5, (size * grow) / depth);
          const mixed = [0, 1, 2].map((c) => paper[c] + shown * (colours[3 * i + c] - paper[c]));
          if (state > 2) {
            pen.fillStyle = css(...scene.ink);
            pen.fillRect(spots[3 * i] - side / 2 - 2, spots[3 * i + 1] - side / 2 - 2, side + 4, side + 4);
          }
          pen.fillStyle = css(...mixed);
          pen.fillRect(spots[3 * i] - side / 2, spots[3 * i + 1] - side / 2, side, side);
        }
      },
    };
  },
};
