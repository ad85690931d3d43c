# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O3 -ffp-contract=off
"""The rasteriser's kernel; rasterize.py checks the arguments.

Homogeneous edge functions (Olano & Greer 1997, "Triangle scan conversion using 2D homogeneous coordinates"): with
the vertices a, b, c as homogeneous image positions and the pixel centre p = (x, y, 1), the three determinants
[p, b, c], [p, c, a], [p, a, b] are proportional to the perspective-correct barycentric coordinates and have the sign
of [a, b, c] exactly where the pixel sees the triangle in front of the camera. No clipping is needed.
Where rounding could change a sign, the sign is computed exactly, so every pixel on a shared edge belongs to exactly one
of the two faces.
"""

from libc.math cimport ceil, fabs, floor, fma


cdef struct Edge:
    double a          # the edge function is a x + b y + c
    double b
    double c
    double error_bound  # of the rounding error: the sign is certain above this magnitude


cdef inline double two_sum(double first, double second, double* rest) noexcept nogil:
    cdef double total = first + second
    cdef double shadow = total - first
    rest[0] = (first - (total - shadow)) + (second - shadow)
    return total


cdef inline double two_product(double first, double second, double* rest) noexcept nogil:
    cdef double product = first * second
    rest[0] = fma(first, second, -product)
    return product


cdef int grow(double* expansion, int length, double term) noexcept nogil:
    """Adds a number to an exact sum of non-overlapping parts (Shewchuk 1997, grow-expansion); returns the length."""
    cdef int k
    cdef double carry = term
    for k in range(length):
        carry = two_sum(carry, expansion[k], &expansion[k])
    expansion[length] = carry
    return length + 1


cdef int exact_sign(const double* p, const double* q, const double* r) noexcept nogil:
    """Sign of the determinant [p, q, r], without rounding error."""
    cdef double expansion[24]
    cdef double high, low, rest
    cdef int length = 0
    cdef int i, j, k, turn
    for i in range(3):
        for turn in range(2):
            j = (i + 1 + turn) % 3
            k = (i + 2 - turn) % 3
            high = two_product(q[j], r[k], &low)
            if turn == 1:
                high = -high
                low = -low
            high = two_product(p[i], high, &rest)
            length = grow(expansion, length, rest)
            length = grow(expansion, length, high)
            low = two_product(p[i], low, &rest)
            length = grow(expansion, length, rest)
            length = grow(expansion, length, low)
    for k in range(length - 1, -1, -1):
        if expansion[k] > 0:
            return 1
        if expansion[k] < 0:
            return -1
    return 0


cdef int tie_broken_sign(double x, double y, const double* q, const double* r) noexcept nogil:
    """Exact sign of an edge function; on the edge itself, its sign at (x + e, y + e^2) for an infinitesimal e > 0.

    This is the top-left rule; it is consistent at shared vertices too.
    """
    cdef double[3] point = [x, y, 1.0]
    cdef double[3] right = [1.0, 0.0, 0.0]
    cdef double[3] below = [0.0, 1.0, 0.0]
    cdef int sign = exact_sign(point, q, r)
    if sign == 0:
        sign = exact_sign(right, q, r)
    if sign == 0:
        sign = exact_sign(below, q, r)
    return sign


cdef inline Edge edge_between(const double* q, const double* r, double width, double height) noexcept nogil:
    cdef Edge edge
    edge.a = q[1] * r[2] - q[2] * r[1]
    edge.b = q[2] * r[0] - q[0] * r[2]
    edge.c = q[0] * r[1] - q[1] * r[0]
    edge.error_bound = 2e-15 * (
        (fabs(q[1] * r[2]) + fabs(q[2] * r[1])) * width
        + (fabs(q[2] * r[0]) + fabs(q[0] * r[2])) * height
        + fabs(q[0] * r[1]) + fabs(q[1] * r[0])
    )
    return edge


cdef inline int orientation(const double* first, const double* q, const double* r) noexcept nogil:
    cdef double determinant = (
        first[0] * (q[1] * r[2] - q[2] * r[1])
        + first[1] * (q[2] * r[0] - q[0] * r[2])
        + first[2] * (q[0] * r[1] - q[1] * r[0])
    )
    cdef double error_bound = 2e-15 * (
        fabs(first[0]) * (fabs(q[1] * r[2]) + fabs(q[2] * r[1]))
        + fabs(first[1]) * (fabs(q[2] * r[0]) + fabs(q[0] * r[2]))
        + fabs(first[2]) * (fabs(q[0] * r[1]) + fabs(q[1] * r[0]))
    )
    if determinant > error_bound:
        return 1
    if determinant < -error_bound:
        return -1
    return exact_sign(first, q, r)


cdef inline int clamped(double value, int low, int high) noexcept nogil:
    if value < low:
        return low
    if value > high:
        return high
    return <int> value


cdef void draw(int face, const double** corners, int[:, ::1] face_ids, float[:, :, ::1] barycentrics,
               float[:, ::1] depth) noexcept nogil:
    cdef int height = face_ids.shape[0]
    cdef int width = face_ids.shape[1]
    cdef Edge[3] edges
    cdef double[3] rows
    cdef double[3] values
    cdef double x, y, crossing, slack, total, distance, value
    cdef double left_most = 1e300, right_most = -1e300, top_most = 1e300, bottom_most = -1e300
    cdef double from_x, to_x
    cdef int facing, in_front = 0, k, i, j, left, right, first, last, top, bottom, sign
    cdef bint inside
    cdef float nearness

    facing = orientation(corners[0], corners[1], corners[2])
    if facing == 0:
        return
    for k in range(3):
        if corners[k][2] > 0:
            in_front += 1
            x = corners[k][0] / corners[k][2]
            y = corners[k][1] / corners[k][2]
            left_most = min(left_most, x)
            right_most = max(right_most, x)
            top_most = min(top_most, y)
            bottom_most = max(bottom_most, y)
    if in_front == 0:
        return
    left, right, top, bottom = 0, width - 1, 0, height - 1
    if in_front == 3:
        # Pixel centres are at + 0.5; the margin covers the rounding of the divisions.
        if right_most < 0 or left_most > width or bottom_most < 0 or top_most > height:
            return
        left = clamped(ceil(left_most - 0.5 - 1e-6), 0, width)
        right = clamped(floor(right_most - 0.5 + 1e-6), -1, width - 1)
        top = clamped(ceil(top_most - 0.5 - 1e-6), 0, height)
        bottom = clamped(floor(bottom_most - 0.5 + 1e-6), -1, height - 1)
        if left > right or top > bottom:
            return
    for k in range(3):
        edges[k] = edge_between(corners[(k + 1) % 3], corners[(k + 2) % 3], right + 1, bottom + 1)

    for i in range(top, bottom + 1):
        y = i + 0.5
        from_x = left
        to_x = right
        for k in range(3):
            rows[k] = edges[k].b * y + edges[k].c
            if right - left > 8 and edges[k].a != 0:
                # Skip the pixels clearly outside an edge; the loop below decides those near it.
                slack = 1.5 + edges[k].error_bound / fabs(edges[k].a)
                crossing = -rows[k] / edges[k].a
                if (edges[k].a > 0) == (facing > 0):
                    from_x = max(from_x, crossing - slack)
                else:
                    to_x = min(to_x, crossing + slack)
        if not from_x <= to_x:
            continue
        first = clamped(from_x, left, right + 1)
        last = clamped(to_x, left - 1, right)
        for j in range(first, last + 1):
            x = j + 0.5
            inside = True
            for k in range(3):
                value = edges[k].a * x + rows[k]
                values[k] = value
                if value > edges[k].error_bound:
                    sign = 1
                elif value < -edges[k].error_bound:
                    sign = -1
                else:
                    sign = tie_broken_sign(x, y, corners[(k + 1) % 3], corners[(k + 2) % 3])
                if sign != facing:
                    inside = False
                    break
            if not inside:
                continue
            total = 0.0
            for k in range(3):
                values[k] = max(values[k] * facing, 0.0)
                total += values[k]
            for k in range(3):
                values[k] = values[k] / total if total > 0 else 1.0 / 3.0
            distance = values[0] * corners[0][2] + values[1] * corners[1][2] + values[2] * corners[2][2]
            nearness = <float> distance
            # Faces are drawn in order, so the strict comparison gives ties to the lowest id.
            if distance > 0 and nearness < depth[i, j]:
                depth[i, j] = nearness
                face_ids[i, j] = face
                for k in range(3):
                    barycentrics[i, j, k] = <float> values[k]


def rasterize_homogeneous(const double[:, ::1] positions, const int[:, ::1] faces, int[:, ::1] face_ids,
                          float[:, :, ::1] barycentrics, float[:, ::1] depth):
    """Draws faces [F, 3] of homogeneous image positions [V, 3] into the buffers, initialised to -1, 0 and inf."""
    cdef Py_ssize_t face
    cdef int k
    cdef const double* corners[3]
    with nogil:
        for face in range(faces.shape[0]):
            for k in range(3):
                corners[k] = &positions[faces[face, k], 0]
            draw(<int> face, corners, face_ids, barycentrics, depth)
