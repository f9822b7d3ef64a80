"""One box of 1 x 2 x 3 in every layout that PLY, OBJ, STL and OFF files of strangers have: written by hand here.

A reader that is right finds volume 6, area 22 and 12 triangles in each. Each layout was seen in a public bug report, or
is in the documents of the format.
"""

import struct

CORNERS = [(0, 0, 0), (1, 0, 0), (1, 2, 0), (0, 2, 0), (0, 0, 3), (1, 0, 3), (1, 2, 3), (0, 2, 3)]
QUADS = [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
TRIANGLES = [part for a, b, c, d in QUADS for part in ((a, b, c), (a, c, d))]
MIXED = [*QUADS[:2], *TRIANGLES[4:]]  # two quads and eight triangles
STRIP = [0, 3, 1, 2, -1, 4, 5, 7, 6, -1, 4, 0, 5, 1, 6, 2, 7, 3, 4, 0]  # begins anew behind -1


def xyz_lines(corners=CORNERS):
    return "".join(f"{x} {y} {z}\n" for x, y, z in corners)


def list_lines(faces):
    return "".join(f"{len(face)} {' '.join(map(str, face))}\n" for face in faces)


XYZ = "property float x\nproperty float y\nproperty float z\n"
LIST = "property list uchar int vertex_indices\n"


def ply_text(faces, *, before="", vertex=XYZ, lists=LIST, body=None, behind="", rows=None):
    head = f"ply\nformat ascii 1.0\n{before}element vertex {len(CORNERS)}\n{vertex}"
    head += f"element face {len(faces)}\n{lists}{behind}end_header\n"
    return (head + (body or xyz_lines()) + (rows if rows is not None else list_lines(faces))).encode()


def ply_binary(faces, *, order="<", vertex="f", count="B", index="i", name="vertex_indices", tail=None, extra=b""):
    """`tail`: bytes behind each face, and their properties; `extra`: bytes behind all, of elements in the header."""
    words = {
        "f": "float",
        "d": "double",
        "h": "short",
        "i": "int",
        "B": "uchar",
        "I": "uint",
        "H": "ushort",
        "b": "char",
    }
    tails, properties = tail or ([b""] * len(faces), "")
    head = f"ply\nformat binary_{'little' if order == '<' else 'big'}_endian 1.0\nelement vertex {len(CORNERS)}\n"
    head += "".join(f"property {words[vertex]} {axis}\n" for axis in "xyz")
    head += f"element face {len(faces)}\nproperty list {words[count]} {words[index]} {name}\n{properties}"
    head += "element edge 2\nproperty int vertex1\nproperty int vertex2\nproperty uchar red\n" if extra else ""
    data = b"".join(struct.pack(f"{order}3{vertex}", *corner) for corner in CORNERS)
    for face, rest in zip(faces, tails, strict=True):
        data += struct.pack(f"{order}{count}{len(face)}{index}", len(face), *face) + rest
    return head.encode() + b"end_header\n" + data + extra


def texcoords(faces):
    """A second list that is empty for every other face, and a number behind it."""
    rows = [struct.pack("<B6fi", 6, *range(6), 7) if n % 2 else struct.pack("<Bi", 0, 7) for n in range(len(faces))]
    return rows, "property list uchar float texcoord\nproperty int texnumber\n"


COLOURS = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
MATERIAL = "element material 1\nproperty uchar ambient\nproperty list uchar int steps\n"
PLY = {
    "ascii_triangles": ply_text(TRIANGLES),
    "ascii_quads": ply_text(QUADS),
    "ascii_mixed": ply_text(MIXED),
    "ascii_one_and_two_corners": ply_text([(0,), (0, 1), *TRIANGLES], rows=list_lines([(0,), (0, 1), *TRIANGLES])),
    "ascii_crlf": ply_text(MIXED).replace(b"\n", b"\r\n"),
    "ascii_cr": ply_text(MIXED).replace(b"\n", b"\r"),
    "ascii_comments": ply_text(MIXED, before="comment element face 99\nobj_info nothing\ncomment\n"),
    "ascii_not_utf8": ply_text(MIXED, before="comment M\xf6bel\n").decode().encode("latin-1"),
    "ascii_texcoords": ply_text(
        MIXED,
        lists=LIST + "property list uchar float texcoord\nproperty int texnumber\n",
        rows="".join(
            f"{len(face)} {' '.join(map(str, face))} {'0' if n % 2 else '6 0 1 0 1 0 1'} 7\n"
            for n, face in enumerate(MIXED)
        ),
    ),
    "ascii_list_behind": ply_text(
        MIXED,
        lists="property uchar flag\n" + LIST,
        rows="".join(f"1 {line}\n" for line in list_lines(MIXED).splitlines()),
    ),
    "ascii_colours": ply_text(MIXED, vertex=XYZ + COLOURS, body="".join(f"{x} {y} {z} 1 2 3\n" for x, y, z in CORNERS)),
    "ascii_z_first": ply_text(
        MIXED,
        vertex=XYZ.replace("z\n", "q\n").replace("x\n", "z\n").replace("q\n", "x\n"),
        body="".join(f"{z} {y} {x}\n" for x, y, z in CORNERS),
    ),
    "ascii_element_before": ply_text(MIXED, before=MATERIAL, body="9 3 1 2 3\n" + xyz_lines()),
    "ascii_edges": ply_text(
        MIXED,
        behind="element edge 2\nproperty int vertex1\nproperty int vertex2\nproperty uchar red\n",
        rows=list_lines(MIXED) + "0 1 255\n1 2 255\n",
    ),
    "ascii_blank_lines": ply_text(MIXED, rows="\n\n" + list_lines(MIXED).replace("\n", "\n\n")),
    "ascii_no_last_line_end": ply_text(MIXED)[:-1],
    "ascii_tabs": ply_text(MIXED, body=xyz_lines().replace(" ", "\t"), rows=list_lines(MIXED).replace(" ", "  ")),
    "ascii_faces_before_vertices": (
        f"ply\nformat ascii 1.0\nelement face {len(MIXED)}\n{LIST}element vertex 8\n{XYZ}end_header\n"
        f"{list_lines(MIXED)}{xyz_lines()}"
    ).encode(),
    "ascii_tristrips": ply_text(
        STRIP,
        lists="",
        rows=f"{len(STRIP)} {' '.join(map(str, STRIP))}\n",
    ).replace(b"element face 20\n", b"element tristrips 1\nproperty list int int vertex_indices\n"),
    "ascii_index_of_floats": ply_text(MIXED, lists="property list uchar float vertex_indices\n"),
    "binary_triangles": ply_binary(TRIANGLES),
    "binary_mixed": ply_binary(MIXED),
    "binary_mixed_big": ply_binary(MIXED, order=">"),
    "binary_double": ply_binary(MIXED, vertex="d"),
    "binary_integers": ply_binary(MIXED, vertex="h"),
    "binary_count_int_index_ushort": ply_binary(MIXED, count="i", index="H", name="vertex_index"),
    "binary_index_uchar_big": ply_binary(MIXED, order=">", count="H", index="B", name="vertex_index"),
    "binary_texcoords": ply_binary(TRIANGLES, tail=texcoords(TRIANGLES)),
    "binary_texcoords_mixed": ply_binary(MIXED, tail=texcoords(MIXED)),
    "binary_one_and_two_corners": ply_binary([(0, 1), *TRIANGLES, (0,), ()]),
    "binary_edges_with_colour": ply_binary(TRIANGLES, extra=struct.pack("<iiBiiB", 0, 1, 255, 1, 2, 255)),
    "binary_crlf_header": ply_binary(MIXED).replace(b"\n", b"\r\n", 9),
    "binary_tail": ply_binary(MIXED) + b"\n",
    "binary_mark": b"\xef\xbb\xbf" + ply_binary(MIXED, tail=([b"\r\n"] * len(MIXED), "property short flag\n")),
}


def obj_text(faces=QUADS, *, corner="{}", before="", behind=""):
    rows = "".join(f"f {' '.join(corner.format(v + 1) for v in face)}\n" for face in faces)
    return before + "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS) + behind + rows


def in_parts():
    """Vertices just before the faces that use them, by negative numbers, each part in a group of its own."""
    text = "o box\n"
    for face in QUADS:
        text += "".join("v {} {} {}\n".format(*CORNERS[v]) for v in face)
        text += f"vt 0 0\ng side\ns off\nusemtl some thing\nf {' '.join(f'-{n}/-1' for n in (4, 3, 2, 1))}\n"
    return text


OBJ = {
    "plain": obj_text().encode(),
    "triangles": obj_text(TRIANGLES).encode(),
    "mixed": obj_text(MIXED).encode(),
    "capitals": obj_text().upper().encode(),
    "one_capital": obj_text().replace("v ", "V ", 1).replace("f ", "F ", 1).encode(),
    "tabs": obj_text().replace(" ", "\t").encode(),
    "several_blanks": obj_text().replace(" ", " \t  ").replace("\n", " \t\n").encode(),
    "indented": obj_text().replace("v ", "  v ").replace("f ", "\tf ").encode(),
    "tab_behind_one_v": obj_text().replace("v ", "v\t", 1).encode(),
    "mark": b"\xef\xbb\xbf" + obj_text().encode(),
    "utf16": obj_text(before="# box\n").encode("utf-16"),
    "utf16_big": b"\xfe\xff" + obj_text().encode("utf-16-be"),
    "utf16_no_mark": obj_text().encode("utf-16-le"),
    "utf32": obj_text().encode("utf-32"),
    "latin1": obj_text(before="# M\xf6bel\nmtllib \xfc.mtl\no T\xfcr\n").encode("latin-1"),
    "cp932": obj_text(before="# \u30dc\u30c3\u30af\u30b9\ng \u8868\u80fd\n").encode(
        "cp932"
    ),  # ends in a backslash byte
    "cp932_backslash": obj_text(before="g \u8868\n").encode("cp932"),  # a name that ends in the byte of a backslash
    "gbk": obj_text(before="# \u6905\u5b50\n").encode("gbk"),
    "comments_behind": obj_text().replace("\n", " # x 1 2 3\n").encode(),
    "comments_joined": obj_text().replace("\n", "#f 1 2 3\n").encode(),
    "crlf": obj_text().replace("\n", "\r\n").encode(),
    "cr": obj_text().replace("\n", "\r").encode(),
    "continued": obj_text().replace("f ", "f \\\n ").replace("v 1 ", "v 1\\\r\n ").encode(),
    "no_last_line_end": obj_text().encode()[:-1],
    "negative": in_parts().encode(),
    "texture": obj_text(corner="{0}/1", behind="vt 0 0\n").encode(),
    "normals": obj_text(corner="{0}//1", behind="vn 0 0 1\n").encode(),
    "both": obj_text(corner="{0}/1/1", behind="vt 0 0 0\nvn 0 0 1\n").encode(),
    "empty_slashes": obj_text(corner="{0}//").encode(),
    "mixed_forms": (
        obj_text(QUADS[:3], corner="{0}/1", behind="vt 0 0\n") + obj_text(QUADS[3:])[len(obj_text([])) :]
    ).encode(),
    "weights": obj_text().replace("\nf", " 1\nf", 1).replace("0\nv", "0 1.0\nv").encode(),
    "colours": obj_text([]).replace("\n", " 0.1 0.2 0.3\n").encode() + obj_text()[len(obj_text([])) :].encode(),
    "one_and_two_corners": obj_text([(0, 1), *QUADS, (0,)]).encode(),
    "lines_and_points": obj_text(behind="p 1\nl 1 2 3\n").encode(),
    "vertices_behind_faces": "".join(reversed(obj_text().splitlines(keepends=True)[8:])).encode()
    + obj_text([]).encode(),
    "exponents": obj_text().replace("v 1 2 3", "v 1.0e+00 2E0 +.3e1").encode(),
    "free_form_words": obj_text(before="mg 0\ncstype bezier\n", behind="vp 0 0\nlod 1\nshadow_obj a\n").encode(),
    "fo": obj_text().replace("f ", "fo ").encode(),
}


def facets(faces=TRIANGLES, *, indent="  "):
    text = ""
    for face in faces:
        text += f"{indent}facet normal 0 0 0\n{indent * 2}outer loop\n"
        text += "".join(f"{indent * 3}vertex {x} {y} {z}\n" for x, y, z in (CORNERS[v] for v in face))
        text += f"{indent * 2}endloop\n{indent}endfacet\n"
    return text


def stl_binary(*, header=b"", count=12, tail=b"", attribute=0):
    rows = b"".join(
        struct.pack("<12fH", 0, 0, 0, *(n for v in face for n in CORNERS[v]), attribute) for face in TRIANGLES
    )
    return header.ljust(80, b"\0")[:80] + struct.pack("<I", count) + rows + tail


STL = {
    "binary": stl_binary(),
    "binary_that_begins_with_solid": stl_binary(header=b"solid box facet"),
    "binary_spaces": stl_binary(header=b"solid".ljust(80)),
    "binary_one_byte_more": stl_binary(tail=b"\n"),
    "binary_long_tail": stl_binary(tail=b"made by a program that signs its files"),
    "binary_colours": stl_binary(header=b"COLOR=\x80\x80\x80\xff", attribute=0x7FFF),
    "binary_not_utf8": stl_binary(header="M\xf6bel".encode("latin-1")),
    "ascii": f"solid box\n{facets()}endsolid box\n".encode(),
    "ascii_no_name": f"solid\n{facets()}endsolid\n".encode(),
    "ascii_no_endsolid": f"solid box\n{facets()}".encode(),
    "ascii_capitals": f"solid box\n{facets()}endsolid box\n".upper().encode(),
    "ascii_tabs": f"solid box\n{facets(indent=chr(9))}endsolid box\n".encode(),
    "ascii_crlf": f"solid box\n{facets()}endsolid box\n".replace("\n", "\r\n").encode(),
    "ascii_cr": f"solid box\n{facets()}endsolid box\n".replace("\n", "\r").encode(),
    "ascii_mark": b"\xef\xbb\xbf" + f"solid box\n{facets()}endsolid box\n".encode(),
    "ascii_indented": f"  solid box\n{facets()}  endsolid box\n".encode(),
    "ascii_two_solids": (
        f"solid a\n{facets(TRIANGLES[:5])}endsolid a\nsolid b\n{facets(TRIANGLES[5:])}endsolid b\n"
    ).encode(),
    "ascii_named_solid_vertex": f"solid vertex 1 2 3\n{facets()}endsolid vertex 1 2 3\n".encode(),
    "ascii_not_utf8": f"solid T\xfcr\n{facets()}endsolid T\xfcr\n".encode("latin-1"),
    "ascii_utf16": f"solid box\n{facets()}endsolid box\n".encode("utf-16"),
    "ascii_one_line": f"solid box {facets()} endsolid box".replace("\n", " ").encode(),
    "ascii_exponents": f"solid box\n{facets()}endsolid box\n".replace(
        "vertex 1 2 3", "vertex 1.0e+000 +2E0 3."
    ).encode(),
}


def off_text(faces=QUADS, *, head="OFF\n8 {n} 0\n", body=None, rows=None):
    return (head.format(n=len(faces)) + (body or xyz_lines()) + (rows or list_lines(faces))).encode()


def with_more(numbers):
    return "".join(f"{x} {y} {z} {numbers}\n" for x, y, z in CORNERS)


OFF = {
    "quads": off_text(),
    "triangles": off_text(TRIANGLES),
    "mixed": off_text(MIXED),
    "counts_on_the_first_line": off_text(head="OFF 8 {n} 0\n"),
    "counts_glued": off_text(head="OFF8 {n} 0\n"),
    "no_edges": off_text(head="OFF\n8 {n}\n"),
    "all_in_one_line": off_text().replace(b"\n", b" "),
    "two_vertices_a_line": off_text(head="CNOFF\n8 {n} 0\n", body=with_more("0 0 1 255 0 0 255")).replace(
        b"255\n", b"255 ", 3
    ),
    "small_letters": off_text(head="off\n8 {n} 0\n"),
    "no_word": off_text(head="8 {n} 12\n"),
    "crlf": off_text().replace(b"\n", b"\r\n"),
    "cr": off_text().replace(b"\n", b"\r"),
    "mark": b"\xef\xbb\xbf" + off_text(),
    "comments": off_text(head="# made by hand\nOFF # really\n# counts\n8 {n} 0 # so many\n").replace(
        b"0\n", b"0 # x\n"
    ),
    "blank_lines": off_text(head="\nOFF\n\n8 {n} 0\n\n", rows="\n" + list_lines(QUADS).replace("\n", "\n\n")),
    "not_utf8": off_text(head="OFF\n# M\xf6bel\n8 {n} 0\n").decode().encode("latin-1"),
    "utf16": off_text().decode().encode("utf-16"),
    "tabs": off_text().replace(b" ", b"\t"),
    "faces_with_colours": off_text(rows="".join(f"{line} 255 0 0\n" for line in list_lines(QUADS).splitlines())),
    "faces_with_some_colours": off_text(
        MIXED,
        rows="".join(
            f"{line}{(' 0.5 0.5 0.5', ' 7', '', ' 1 2 3 4')[n % 4]}\n"
            for n, line in enumerate(list_lines(MIXED).splitlines())
        ),
    ),
    "coff": off_text(head="COFF\n8 {n} 0\n", body=with_more("255 0 0 255")),
    "coff_of_three": off_text(head="COFF\n8 {n} 0\n", body=with_more("0.5 0.5 0.5")),
    "noff": off_text(head="NOFF\n8 {n} 0\n", body=with_more("0 0 1")),
    "stoff": off_text(head="STOFF\n8 {n} 0\n", body=with_more("0 1")),
    "cnoff": off_text(head="CNOFF\n8 {n} 0\n", body=with_more("0 0 1 255 0 0 255")),
    "off_with_colours": off_text(body=with_more("255 0 0 255")),
    "one_and_two_corners": off_text([(0, 1), *QUADS, (0,)]),
}
