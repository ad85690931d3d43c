"""Opens a GLB in Blender and writes down what is there: PYTHON tests/blender_check.py GLB CAMERA FOLDER

PYTHON has the package bpy, and not this project's. CAMERA is a JSON file: width, height, focal (px, the principal point
is the middle) and head_to_camera (4 x 4, from glTF's axes to x right, y down, z forward). Into FOLDER go facts.json, the
coordinates of mesh and shape keys (keys.npz), and two renderings: opened.png as the file opens, neutral.png with every
shape key at 0.
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

FROM_GLTF = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # y up to z up
SAMPLES = 16


def coordinates(data):
    """[N, 3] of a mesh's vertices or a shape key's."""
    values = np.empty(len(data) * 3, np.float32)
    data.foreach_get("co", values)
    return values.reshape(-1, 3)


def set_camera(scene, camera):
    """Makes the scene look through a pinhole camera."""
    data = bpy.data.cameras.new("photo")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", 36.0
    data.lens = camera["focal"] / camera["width"] * data.sensor_width
    data.clip_start, data.clip_end = 0.01, 10
    view = bpy.data.objects.new("photo", data)
    pose = np.array(camera["head_to_camera"])
    view.matrix_world = Matrix((FROM_GLTF @ np.linalg.inv(pose) @ np.diag([1.0, -1, -1, 1])).tolist())
    scene.collection.objects.link(view)
    scene.camera = view
    scene.render.resolution_x, scene.render.resolution_y = camera["width"], camera["height"]
    scene.render.resolution_percentage = 100


def set_engine(scene):
    """Cycles on one core; the picture holds the colours of the texture and nothing of what makes films look good."""
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", SAMPLES, 0
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.cycles.pixel_filter_type = "BOX"
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.film_transparent = True
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"


def render(scene, path):
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def main(glb, camera_file, folder):
    folder = Path(folder).resolve()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(Path(glb).resolve()))
    objects = [entry for entry in bpy.data.objects if entry.type == "MESH"]
    head = objects[0]
    keys = head.data.shape_keys.key_blocks if head.data.shape_keys else ()
    world = np.array(head.matrix_world)
    basis = coordinates(head.data.vertices) @ world[:3, :3].T + world[:3, 3]
    shapes = [coordinates(key.data) @ world[:3, :3].T + world[:3, 3] for key in keys]
    np.savez(folder / "keys.npz", vertices=basis, keys=np.array(shapes))
    facts = {
        "objects": len(objects),
        "materials": len(head.data.materials),
        "unit": bpy.context.scene.unit_settings.scale_length,
        "names": [key.name for key in keys],
        "values": [key.value for key in keys],
        "triangles": len(head.data.polygons),
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    scene = bpy.context.scene
    set_camera(scene, json.loads(Path(camera_file).read_text()))
    set_engine(scene)
    render(scene, folder / "opened.png")
    for key in keys[1:]:  # the first is the mesh itself
        key.value = 0
    render(scene, folder / "neutral.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
