
// The page of one scan: three planes through its organs, their surfaces, and keys that walk along the worst of the
// folder. Planes, sides and colours are those of reports/mask_slices.py. Indices are of the canonical grid of the scan;
// the first axis of a slice runs to the left of the picture, the second upwards.
const scanPage = (() => {
  const organs = JSON.parse(document.getElementById("organs").textContent);
  const planes = JSON.parse(document.getElementById("planes").textContent);
  const ROOM = 3, FONT = "12px system-ui, sans-serif", BARS = [1, 2, 5, 10, 20, 50, 100, 200, 500];  // voxels; mm
  const slices = document.querySelector(".slices"), turned = document.querySelector(".turned");
  const chosenBox = document.getElementById("chosen"), links = [...document.querySelectorAll(".organs a")];
  const withOthers = document.getElementById("others"), whole = document.getElementById("whole");
  const loaded = new Map();  // volumes and meshes by number of the organ
  let chosen = -1, place = [0, 0, 0], box = null;

  const paint = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const parts = name => [1, 3, 5].map(at => parseInt(paint(name).slice(at, at + 2), 16));

  // The bits of a volume: of the mask, of the reference and of the repaired mask.
  async function volumeOf(packed) {
    const bytes = await turning.unpacked(packed.data), [X, Y, Z] = packed.shape, size = Math.ceil(X * Y * Z / 8);
    const at = (start, n) => bytes[start + (n >> 3)] >> 7 - (n & 7) & 1;
    // 1 mask, 2 reference, 4 repaired, at a voxel of the canonical grid; 0 outside of the box.
    const value = index => {
      let n = 0;
      for (let axis = 0; axis < 3; axis++) {
        const own = index[axis] - packed.lower[axis];
        if (own < 0 || own >= packed.shape[axis]) return 0;
        n = n * packed.shape[axis] + own;
      }
      const mask = at(0, n);
      return mask | (mask ^ at(size, n)) << 1 | (mask ^ at(2 * size, n)) << 2;
    };
    return {...packed, value};
  }
  function load(number) {
    const address = organs[number].addresses.shape;
    if (!address) return Promise.resolve(null);
    if (!loaded.has(number)) loaded.set(number, (async () => {
      const shape = await turning.shape(address);
      return {meshes: shape.meshes, volume: await volumeOf(shape.volume)};
    })());
    return loaded.get(number);
  }
  // Those that are there already and lie on the grid of the chosen one, it last.
  let shown = [], views = [];
  async function gather() {
    const number = chosen, own = await load(number);
    if (number !== chosen) return;
    shown = own ? [own] : [];
    box = own && boxOf(shown); refresh(true);
    if (!own || !withOthers.checked && !whole.checked) return;
    for (let other = 0; other < organs.length; other++) {
      const one = other === number ? null : await load(other).catch(() => null);
      if (number !== chosen) return;
      if (one && one.volume.grid === own.volume.grid) shown.unshift(one);
    }
    box = boxOf(whole.checked ? shown : [own]); refresh(false);
  }
  function boxOf(list) {
    const lower = [0, 1, 2].map(axis => Math.min(...list.map(one => one.volume.lower[axis])) - ROOM);
    const upper = [0, 1, 2].map(axis => Math.max(...list.map(one => one.volume.lower[axis] + one.volume.shape[axis])) + ROOM);
    return {lower, upper};
  }
  // The voxel with most disagreement nearby: of the planes with most voxels that differ; of equal masks, with most.
  function placeOf({volume}) {
    const counts = [0, 1, 2].map(axis => [new Float64Array(volume.shape[axis]), new Float64Array(volume.shape[axis])]);
    const [X, Y, Z] = volume.shape, index = [0, 0, 0];
    for (let x = 0; x < X; x++) for (let y = 0; y < Y; y++) for (let z = 0; z < Z; z++) {
      index[0] = x + volume.lower[0]; index[1] = y + volume.lower[1]; index[2] = z + volume.lower[2];
      const value = volume.value(index);
      if (!value) continue;
      const differs = (value & 1) !== (value >> 1 & 1) ? 1 : 0;
      [x, y, z].forEach((n, axis) => { counts[axis][0][n] += differs; counts[axis][1][n] += 1; });
    }
    return counts.map(([differing, all], axis) => {
      const counted = differing.some(Boolean) ? differing : all;
      return counted.indexOf(Math.max(...counted)) + volume.lower[axis];
    });
  }

  // A slice on its canvas: areas of the chosen organ, outlines of all, sides, planes of the others, and a scale bar.
  function drawPlane(figure, plane) {
    const canvas = figure.querySelector("canvas"), context = canvas.getContext("2d");
    const size = canvas.clientWidth, dense = devicePixelRatio;
    canvas.width = canvas.height = Math.round(size * dense);
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.fillStyle = paint("page"); context.fillRect(0, 0, size, size);
    if (!box || !size) return;
    const [first, second] = [0, 1, 2].filter(axis => axis !== plane.axis), own = shown[shown.length - 1].volume;
    const spacing = own.spacing, extent = axis => (box.upper[axis] - box.lower[axis]) * spacing[axis];
    const scale = (size - 36) / Math.max(extent(0), extent(1), extent(2));  // pixels a mm, the same in all planes
    const wide = extent(first) * scale, high = extent(second) * scale, left = (size - wide) / 2, top = (size - high) / 2;
    const across = spacing[first] * scale, down = spacing[second] * scale;
    const x = u => left + (box.upper[first] - u) * across, y = v => top + (box.upper[second] - v) * down;  // of a border
    const index = [0, 0, 0];
    index[plane.axis] = place[plane.axis];
    const value = (volume, u, v) => { index[first] = u; index[second] = v; return volume.value(index); };

    for (const one of shown) {
      const {volume} = one, isChosen = volume === own;
      const from = axis => volume.lower[axis], to = axis => volume.lower[axis] + volume.shape[axis];
      if (place[plane.axis] < from(plane.axis) || place[plane.axis] >= to(plane.axis)) continue;
      const U = volume.shape[first], V = volume.shape[second], values = new Uint8Array((U + 2) * (V + 2));
      for (let u = 0; u < U; u++) for (let v = 0; v < V; v++)
        values[(u + 1) * (V + 2) + v + 1] = value(volume, u + from(first), v + from(second));
      if (isChosen) {
        const colours = {1: parts("pale-extra"), 2: parts("pale-missing"), 3: parts("both")};
        const image = new ImageData(U, V);
        for (let u = 0; u < U; u++) for (let v = 0; v < V; v++) {
          const colour = colours[values[(u + 1) * (V + 2) + v + 1] & 3];
          if (colour) image.data.set([...colour, 255], 4 * ((V - 1 - v) * U + U - 1 - u));
        }
        const small = new OffscreenCanvas(U, V);
        small.getContext("2d").putImageData(image, 0, 0);
        context.imageSmoothingEnabled = false;
        context.drawImage(small, x(to(first)), y(to(second)), U * across, V * down);
      }
      const lines = isChosen ? [[2, "reference", 1.5, []], [4, "repaired", 1.5, [4, 3]], [1, "mask", 1.5, []]] : [[1, "soft", 0.8, []]];
      for (const [bit, name, thick, dash] of lines) {
        context.beginPath();
        for (let u = 0; u <= U; u++) for (let v = 0; v <= V; v++) {
          const here = values[(u + 1) * (V + 2) + v + 1] & bit;
          const before = values[u * (V + 2) + v + 1] & bit, below = values[(u + 1) * (V + 2) + v] & bit;
          const X = x(u + from(first)), Y = y(v + from(second));
          if (here !== before) { context.moveTo(X, Y); context.lineTo(X, Y - down); }
          if (here !== below) { context.moveTo(X, Y); context.lineTo(X - across, Y); }
        }
        context.strokeStyle = paint(name); context.lineWidth = thick; context.setLineDash(dash); context.stroke();
      }
      context.setLineDash([]);
    }
    // Where the other two planes lie.
    context.strokeStyle = paint("mark"); context.globalAlpha = 0.45; context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x(place[first] + 0.5), 18); context.lineTo(x(place[first] + 0.5), size - 18);
    context.moveTo(18, y(place[second] + 0.5)); context.lineTo(size - 18, y(place[second] + 0.5));
    context.stroke(); context.globalAlpha = 1;
    context.fillStyle = paint("soft"); context.font = FONT; context.textBaseline = "middle"; context.textAlign = "center";
    const [toLeft, toRight, above, below] = plane.sides, half = size / 2;
    context.fillText(toLeft, 8, half); context.fillText(toRight, size - 8, half);
    context.fillText(above, half, 9); context.fillText(below, half, size - 9);
    const bar = BARS.filter(mm => mm * scale < size / 3).pop() || BARS[0];
    context.fillRect(size - 14 - bar * scale, size - 22, bar * scale, 2);
    context.textAlign = "right"; context.fillText(bar + " mm", size - 14, size - 32);
    figure.where = (px, py) => [[first, box.upper[first] - (px - left) / across], [second, box.upper[second] - (py - top) / down]];
  }
  function drawPlanes() {
    for (const figure of slices.querySelectorAll(".plane")) {
      const plane = planes[figure.dataset.plane], slider = figure.querySelector("input");
      drawPlane(figure, plane);
      if (!box) continue;
      slider.min = box.lower[plane.axis]; slider.max = box.upper[plane.axis] - 1; slider.value = place[plane.axis];
      const words = place[plane.axis] + 1 - box.lower[plane.axis] + " of " + (box.upper[plane.axis] - box.lower[plane.axis]);
      figure.querySelector("output").textContent = words;
      slider.setAttribute("aria-valuetext", words);
      figure.querySelector("canvas").setAttribute("aria-label", plane.name + " slice " + words + ", " + organs[chosen].organ);
    }
  }
  function move(axis, to) {
    if (!box) return;
    place[axis] = Math.max(box.lower[axis], Math.min(box.upper[axis] - 1, Math.floor(to)));
    drawPlanes();
  }
  for (const figure of slices.querySelectorAll(".plane")) {
    const {axis} = planes[figure.dataset.plane], canvas = figure.querySelector("canvas");
    figure.querySelector("input").oninput = event => move(axis, Number(event.target.value));
    canvas.addEventListener("wheel", event => {
      if (event.ctrlKey) return;
      event.preventDefault(); move(axis, place[axis] + Math.sign(-event.deltaY));
    }, {passive: false});
    canvas.onclick = event => { if (figure.where) for (const [other, at] of figure.where(event.offsetX, event.offsetY)) move(other, at); };
  }

  // Mask and reconstruction of the chosen organ; with the others where they are wanted, all in one ball and one scale.
  async function drawShapes() {
    const own = shown[shown.length - 1], list = withOthers.checked ? [...shown].reverse() : [own];
    for (const view of views.splice(0)) view.leave();
    turned.replaceChildren();
    if (!own) return;
    const made = turning.pair(organs[chosen].organ, own.meshes);
    turned.append(made);
    const known = Object.keys(own.meshes).filter(what => own.meshes[what]);
    const balls = list.flatMap(one => Object.values(one.meshes)).filter(Boolean).map(mesh => mesh.ball);
    const middle = [0, 1, 2].map(axis => (Math.min(...balls.map(ball => ball[axis] - ball[3])) + Math.max(...balls.map(ball => ball[axis] + ball[3]))) / 2);
    const radius = Math.max(...balls.map(ball => Math.hypot(...middle.map((at, axis) => at - ball[axis])) + ball[3]));
    [...made.querySelectorAll(".view")].forEach((host, n) => {
      delete host.dataset.mesh;
      const meshes = list.map(one => one.meshes[known[n]]).filter(Boolean);
      const view = new turning.View(host);
      views.push(view);
      turning.attempt(() => view.show(meshes, whole.checked ? [...middle, radius] : meshes[0].ball));
    });
  }
  function refresh(isNew) {
    const own = shown[shown.length - 1];
    slices.hidden = turned.hidden = !own;
    if (!own) return;
    if (isNew) place = placeOf(own);
    drawPlanes(); drawShapes();
  }
  function choose(number) {
    if (!organs.length) return;
    chosen = Math.max(0, Math.min(organs.length - 1, number));
    const row = organs[chosen], walk = element("p", undefined, "walk");
    links.forEach((link, n) => n === chosen ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"));
    for (const [key, words] of [["before", "worse (p)"], ["after", "next worst (n)"]]) {
      if (!row[key]) continue;
      const link = element("a", words);
      link.href = row[key]; link.rel = key === "after" ? "next" : "prev"; walk.append(link, " ");
    }
    walk.append(row.place + " of " + row.count + " in the folder, worst first");
    chosenBox.replaceChildren(heading(row), walk, element("p", row.reason, "reason-of"), numbers(row));
    const more = element("details");
    more.append(element("summary", "everything known of it, and its picture"), others(row));
    if (row.addresses.picture) more.append(sheet(row, row.addresses.picture));
    chosenBox.append(more);
    shown = []; box = null;
    if (row.addresses.shape) turning.attempt(gather);
    else refresh(false);
  }
  addEventListener("keydown", event => {
    const key = {n: "after", p: "before"}[event.key];
    if (!key || typing(event) || chosen < 0 || !organs[chosen][key]) return;
    location.href = organs[chosen][key];
  });
  withOthers.onchange = whole.onchange = () => turning.attempt(gather);
  addEventListener("resize", drawPlanes);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPlanes);
  addEventListener("hashchange", () => choose(Number(location.hash.slice(1)) || 0));
  choose(Number(location.hash.slice(1)) || 0);
})();
