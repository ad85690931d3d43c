# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O3 -ffp-contract=off
"""Kernels of the texture look-up; lookup.py checks the arguments."""

from libc.math cimport floor


cdef inline int merge(int* texels, double* weights, int count, int texel, double weight) noexcept nogil:
    """Adds a texel's weight to a list sorted by texel; returns the list's new length."""
    cdef int at = count
    cdef int k
    while at > 0 and texels[at - 1] > texel:
        at -= 1
    if at > 0 and texels[at - 1] == texel:
        weights[at - 1] += weight
        return count
    for k in range(count, at, -1):
        texels[k] = texels[k - 1]
        weights[k] = weights[k - 1]
    texels[at] = texel
    weights[at] = weight
    return count + 1


def gather_texels(const int[:, ::1] face_ids, const float[:, :, ::1] barycentrics, const double[:, ::1] uvs,
                  const int[:, ::1] uv_faces, int height, int width, int per_pixel, long long[::1] pixels,
                  float[::1] coverage, int[::1] lengths, int[::1] texels, float[::1] weights):
    """Writes the rows of the look-up matrix for a band of the image, rasterised with per_pixel^2 samples per pixel.

    For each pixel with at least one hit: its index in the band, the share of samples that hit, the number of texels,
    and the texels with their weights, one after another. Returns the numbers of pixels and of texels written.
    """
    cdef int rows = face_ids.shape[0] // per_pixel
    cdef int columns = face_ids.shape[1] // per_pixel
    cdef int i, j, a, b, k, face, count, hits, left, right, upper, lower
    cdef Py_ssize_t pixel = 0, entry = 0
    cdef double u, v, x, y, across, down
    cdef int[64] found
    cdef double[64] shares
    with nogil:
        for i in range(rows):
            for j in range(columns):
                count = 0
                hits = 0
                for a in range(i * per_pixel, (i + 1) * per_pixel):
                    for b in range(j * per_pixel, (j + 1) * per_pixel):
                        face = face_ids[a, b]
                        if face < 0:
                            continue
                        hits += 1
                        u = 0.0
                        v = 0.0
                        for k in range(3):
                            u += uvs[uv_faces[face, k], 0] * barycentrics[a, b, k]
                            v += uvs[uv_faces[face, k], 1] * barycentrics[a, b, k]
                        x = min(max(u * width - 0.5, 0.0), width - 1.0)
                        y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
                        left = <int> floor(x)
                        upper = <int> floor(y)
                        right = min(left + 1, width - 1)
                        lower = min(upper + 1, height - 1)
                        across = x - left
                        down = y - upper
                        count = merge(found, shares, count, upper * width + left, (1.0 - across) * (1.0 - down))
                        count = merge(found, shares, count, upper * width + right, across * (1.0 - down))
                        count = merge(found, shares, count, lower * width + left, (1.0 - across) * down)
                        count = merge(found, shares, count, lower * width + right, across * down)
                if hits == 0:
                    continue
                pixels[pixel] = <long long> i * columns + j
                coverage[pixel] = <float> (<double> hits / (per_pixel * per_pixel))
                lengths[pixel] = count
                pixel += 1
                for k in range(count):
                    texels[entry] = found[k]
                    weights[entry] = <float> (shares[k] / hits)
                    entry += 1
    return pixel, entry


ctypedef fused real:
    float
    double


def multiply_rows(const int[::1] starts, const int[::1] columns, const float[::1] weights, const real[:, :] values,
                  real[:, :] result, Py_ssize_t first, Py_ssize_t last):
    """result[first:last] = (matrix @ values)[first:last], for a matrix in CSR form and values with three columns."""
    cdef Py_ssize_t row
    cdef int entry, column
    cdef real weight, red, green, blue
    with nogil:
        for row in range(first, last):
            red = 0.0
            green = 0.0
            blue = 0.0
            for entry in range(starts[row], starts[row + 1]):
                column = columns[entry]
                weight = weights[entry]
                red += weight * values[column, 0]
                green += weight * values[column, 1]
                blue += weight * values[column, 2]
            result[row, 0] = red
            result[row, 1] = green
            result[row, 2] = blue
