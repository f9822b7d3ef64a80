
// Shapes that are turned in place. An element with data-turn holds views that turn together; each view with data-mesh
// (JSON of isofield/reports/turnable.py) gets a canvas over its picture once it is near the window, and loses it when it
// is far away: a page may hold thousands. One WebGL context draws them all, since browsers allow about sixteen.
const turning = (() => {
  const FIELD = 30, MARGIN = 0.03, STEP = 10, STEEPEST = 89, NEAR = "400px";  // degrees; MARGIN as in rendering.py
  const radians = degrees => degrees * Math.PI / 180;
  const colour = name => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
    return [1, 3, 5].map(place => parseInt(hex.slice(place, place + 2), 16) / 255);
  };
  const unpacked = async text => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  let broken = false;
  function fail(reason) {
    broken = true;
    for (const hint of document.querySelectorAll(".turn-hint"))
      hint.textContent = "This browser cannot turn shapes (" + reason + "): their pictures stay.";
    for (const canvas of document.querySelectorAll(".view > canvas")) canvas.remove();
  }

  // A script of ours: text, or a file beside the page; gone from the page once it ran.
  const run = source => new Promise((done, refuse) => {
    const script = document.createElement("script");
    const end = error => { script.remove(); error ? refuse(error) : done(); };
    if (source.text !== undefined) { script.textContent = source.text; document.head.append(script); end(); return; }
    script.onload = () => end();
    script.onerror = () => end(new Error(decodeURIComponent(source.file) + " is not beside this page"));
    script.src = source.file; document.head.append(script);
  });

  // three.js stands packed in the page, or in a file that pages share; it is read when the first shape is near.
  let stage;
  const ready = () => stage ??= (async () => {
    const packed = document.getElementById("three");
    await run(packed.dataset.file ? {file: packed.dataset.file}
      : {text: new TextDecoder().decode(await unpacked(packed.textContent))});
    const renderer = new THREE.WebGLRenderer({antialias: true, alpha: true});
    renderer.outputColorSpace = "srgb-linear";  // colours are given and shown as they are
    renderer.domElement.addEventListener("webglcontextlost", () => fail("it took the graphics away"));
    const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(FIELD, 1, 0.1, 40);
    const lights = [new THREE.AmbientLight(), new THREE.DirectionalLight(), new THREE.DirectionalLight()];
    scene.add(...lights);
    return {renderer, scene, camera, lights};
  })();

  // The numbers of a packed mesh: differences, zigzag-coded, low bytes before high bytes.
  async function geometry(packed, ball, limit) {
    const bytes = await unpacked(packed.data), vertices = packed.vertices, faces = packed.faces;
    const count = 3 * vertices + 3 * faces, [x, y, z, radius] = ball, middle = [x, y, z];
    const number = place => { const code = bytes[place] | bytes[count + place] << 8; return code & 1 ? -(code + 1 >> 1) : code >> 1; };
    const positions = new Float32Array(3 * vertices), corners = new Uint16Array(3 * faces);
    for (let axis = 0; axis < 3; axis++)
      for (let n = 0, whole = 0; n < vertices; n++) {
        whole += number(axis * vertices + n);
        positions[3 * n + axis] = (packed.origin[axis] + packed.step * whole - middle[axis]) / radius;
      }
    for (let n = 0, first = 0, start = 3 * vertices; n < faces; n++) {
      first += number(start + n);
      corners[3 * n] = first;
      corners[3 * n + 1] = first + number(start + faces + n);
      corners[3 * n + 2] = first + number(start + 2 * faces + n);
    }
    const made = new THREE.BufferGeometry();
    made.setAttribute("position", new THREE.BufferAttribute(positions, 3));
    made.setIndex(new THREE.BufferAttribute(corners, 1));
    if (packed.limit === null) return made;
    const [neutral, extra, missing] = ["neutral", "extra", "missing"].map(colour), colours = new Float32Array(3 * vertices);
    for (let n = 0; n < vertices; n++) {
      const value = (bytes[2 * count + n] << 24 >> 24) / 127 * packed.limit / limit, share = Math.min(1, Math.abs(value));
      for (let part = 0; part < 3; part++)
        colours[3 * n + part] = (1 - share) * neutral[part] + share * (value > 0 ? extra : missing)[part];
    }
    made.setAttribute("color", new THREE.BufferAttribute(colours, 3));
    made.computeVertexNormals();
    return made;
  }

  // How the views of a group are looked at: one direction for all.
  class Group {
    constructor(element) {
      this.element = element; this.views = new Set(); this.waiting = false;
      this.down = new Map(); this.held = null;  // pointers where they were last, and what they began from
      this.spoken = element.appendChild(document.createElement("span"));
      this.spoken.className = "unseen"; this.spoken.setAttribute("aria-live", "polite");
      this.begin = null;
      element.addEventListener("keydown", event => this.key(event));
    }
    start(packed) { if (!this.begin) { this.begin = packed.look; this.reset(); } }
    reset() { this.look(...this.begin, 1); }
    look(azimuth, elevation, zoom) { Object.assign(this, {azimuth, elevation, zoom}); this.draw(); }
    turn(across, up) {
      this.azimuth = (this.azimuth + across + 540) % 360 - 180;
      this.elevation = Math.max(-STEEPEST, Math.min(STEEPEST, this.elevation + up));
      this.draw();
    }
    scale(by) { this.zoom = Math.max(0.5, Math.min(8, this.zoom * by)); this.draw(); }
    key(event) {
      const turns = {ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP]};
      if (event.target !== this.element || event.ctrlKey || event.altKey || event.metaKey || !this.begin) return;
      if (turns[event.key]) this.turn(...turns[event.key]);
      else if (event.key === "+" || event.key === "=") this.scale(1.25);
      else if (event.key === "-") this.scale(0.8);
      else if (event.key === "Home") this.reset();
      else return;
      event.preventDefault();
      this.spoken.textContent = "seen from " + Math.round(this.azimuth) + " degrees around, "
        + Math.round(this.elevation) + " degrees up";
    }
    draw() {
      if (this.waiting || broken) return;
      this.waiting = true;
      requestAnimationFrame(() => { this.waiting = false; for (const view of this.views) view.draw(); });
    }
  }
  const groups = new WeakMap();
  const group = element => groups.get(element) || (groups.set(element, new Group(element)), groups.get(element));

  // One view: its meshes (more than one where organs lie beside each other), drawn on a canvas of its own.
  class View {
    constructor(host) {
      this.host = host; this.group = group(host.closest("[data-turn]")); this.meshes = []; this.wanted = true;
      this.canvas = document.createElement("canvas"); this.canvas.setAttribute("aria-hidden", "true");
      this.drag();
    }
    // `ball` and `limit`: of the first mesh, if no others are given.
    async show(list, ball = list[0].ball, limit = list[0].limit) {
      await ready();
      this.drop();
      this.packed = list[0];
      for (const packed of list) {
        const coloured = packed.limit !== null;
        const material = new THREE.MeshLambertMaterial({side: THREE.DoubleSide, flatShading: !coloured, vertexColors: coloured});
        this.meshes.push(new THREE.Mesh(await geometry(packed, ball, limit), material));
      }
      if (!this.wanted || broken) { this.drop(); return; }
      if (!this.canvas.isConnected) this.host.append(this.canvas);
      this.host.classList.add("alive");
      this.group.views.add(this);
      this.group.start(this.packed);
      this.draw();
    }
    drop() { for (const mesh of this.meshes) { mesh.geometry.dispose(); mesh.material.dispose(); } this.meshes = []; }
    leave() {
      this.wanted = false; this.group.views.delete(this); this.group.down.clear(); this.drop();
      this.canvas.remove(); this.host.classList.remove("alive");
    }
    async draw() {
      const {renderer, scene, camera, lights} = await ready();
      const wide = Math.round(this.canvas.clientWidth * devicePixelRatio), high = Math.round(this.canvas.clientHeight * devicePixelRatio);
      if (!wide || !high || !this.meshes.length || broken) return;
      // The camera around the unit ball, and lights that go with it, as in rendering.py.
      const azimuth = radians(this.group.azimuth), elevation = radians(this.group.elevation), flat = Math.cos(elevation);
      const upright = this.packed.up === "z" ? ([x, y, z]) => [x, -z, y] : place => place;
      const back = [Math.sin(azimuth) * flat, Math.sin(elevation), Math.cos(azimuth) * flat];
      const right = [Math.cos(azimuth), 0, -Math.sin(azimuth)];
      const up = [-Math.sin(azimuth) * Math.sin(elevation), flat, -Math.cos(azimuth) * Math.sin(elevation)];
      const away = (1 + MARGIN) / Math.sin(radians(FIELD / 2));
      camera.up.set(...upright(up)); camera.position.set(...upright(back.map(part => part * away)));
      camera.lookAt(0, 0, 0); camera.aspect = wide / high;
      camera.zoom = this.group.zoom * Math.min(1, wide / high); camera.updateProjectionMatrix();
      const [ambient, head, key] = this.packed.limit === null ? [38 / 255, 0.4 * 198 / 255, 0.6 * 198 / 255] : [0.45, 0.35, 0.3];
      [ambient, head, key].forEach((strength, n) => lights[n].intensity = strength * Math.PI);
      lights[1].position.set(...upright(back));
      lights[2].position.set(...upright([0, 1, 2].map(n => -0.45 * right[n] + 0.9 * up[n] + 0.35 * back[n])));
      renderer.setSize(wide, high, false);
      scene.add(...this.meshes); renderer.render(scene, camera); scene.remove(...this.meshes);
      this.canvas.width = wide; this.canvas.height = high;
      this.canvas.getContext("2d").drawImage(renderer.domElement, 0, 0);
    }
    // One pointer turns, two zoom by how far they are apart. They are the group's: fingers may lie on different views.
    drag() {
      const down = this.group.down;
      const spread = () => { const [one, other] = down.values(); return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY); };
      this.canvas.addEventListener("pointerdown", event => {
        if (event.button) return;
        if (event.isPrimary) down.clear();  // nothing else of its kind is down: what is left was never told to be up
        if (!down.size) this.group.held = [this.group.azimuth, this.group.elevation, this.group.zoom];
        down.set(event.pointerId, event);
        this.canvas.setPointerCapture(event.pointerId);
        this.group.element.focus({preventScroll: true}); event.preventDefault();
      });
      this.canvas.addEventListener("pointermove", event => {
        const from = down.get(event.pointerId), apart = down.size === 2 && spread();
        if (!from) return;
        down.set(event.pointerId, event);
        const degrees = 180 / this.canvas.clientWidth;
        if (down.size === 1) this.group.turn((from.clientX - event.clientX) * degrees, (event.clientY - from.clientY) * degrees);
        else if (apart) this.group.scale(spread() / apart);
      });
      this.canvas.addEventListener("pointerup", event => down.delete(event.pointerId));
      this.canvas.addEventListener("pointercancel", event => {  // a finger that scrolls the page: it meant no turn
        if (down.delete(event.pointerId)) this.group.look(...this.group.held);
      });
      this.canvas.addEventListener("dblclick", () => this.group.reset());
      this.canvas.addEventListener("wheel", event => {  // a pinch, or with Ctrl: the wheel alone scrolls the page
        if (event.ctrlKey) { event.preventDefault(); this.group.scale(Math.exp(-event.deltaY / 200)); }
      }, {passive: false});
    }
  }

  const views = new Map(), meshes = host => [JSON.parse(host.dataset.mesh)].flat();
  const attempt = async work => { try { await work(); } catch (error) { fail(error.message); } };
  const near = new IntersectionObserver(entries => {
    for (const {target, isIntersecting} of entries) {
      if (isIntersecting && !views.has(target) && !broken) {
        const view = new View(target); views.set(target, view);
        attempt(() => view.show(meshes(target)));
      } else if (!isIntersecting && views.has(target)) { views.get(target).leave(); views.delete(target); }
    }
  }, {rootMargin: NEAR});
  const watch = root => { for (const host of root.querySelectorAll(".view[data-mesh]")) near.observe(host); };
  addEventListener("resize", () => { for (const view of views.values()) view.group.draw(); });
  matchMedia("print").addEventListener("change", () => { for (const view of views.values()) view.group.draw(); });
  watch(document);

  // What the file of an organ holds (outliers/analysis/shape_files.py), read once.
  const files = new Map();
  function shape(file) {
    if (!files.has(file)) files.set(file, (async () => {
      let content = null;
      waiting = waiting.catch(() => null).then(() => { globalThis.isofieldShape = data => content = data; return run({file}); });
      await waiting;
      return content;
    })());
    return files.get(file);
  }
  let waiting = Promise.resolve();  // one file at a time: each calls the same function

  // Views of meshes by name, that turn together, with the scale of their colours.
  function pair(name, meshes) {
    const known = Object.entries(meshes).filter(([, mesh]) => mesh);
    const made = element("div"), both = element("div", undefined, "pair");
    for (const [key, value] of Object.entries({"data-turn": "", tabindex: 0, role: "application",
        "aria-roledescription": "3D view", "aria-label": name + ": arrow keys turn, plus and minus zoom, Home goes back"}))
      both.setAttribute(key, value);
    for (const [what, mesh] of known) {
      const view = element("div", undefined, "view alone");
      view.dataset.mesh = JSON.stringify(mesh);
      view.append(element("div", undefined, "none"), element("span", what, "name"));
      both.append(view);
    }
    if (!known.length) return made;
    made.append(both, scale(known[0][1].limit));
    return made;
  }
  function scale(limit) {
    const made = element("div", undefined, "scale");
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", "colours: blue " + -limit + " mm, missing; grey 0; red +" + limit + " mm, extra");
    made.append(element("span", "missing " + -limit + " mm"), element("i"), element("span", "+" + limit + " mm extra"));
    return made;
  }
  return {watch, attempt, shape, pair, scale, unpacked, View};
})();
