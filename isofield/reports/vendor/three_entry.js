// What the pages use of three.js: esbuild leaves out the rest. README.md beside this file says how it is bundled.
export {
  AmbientLight, BufferAttribute, BufferGeometry, DirectionalLight, DoubleSide, Mesh, MeshLambertMaterial,
  PerspectiveCamera, Scene, WebGLRenderer,
} from "three";
