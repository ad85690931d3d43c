"""The losses in plain float64 loops, written from the formulas and not from the code under test."""

import math

import numpy as np

DECORRELATION = np.array(
    [[0.577350, 0.577350, 0.577350], [-0.577350, 0.788675, -0.211325], [-0.577350, -0.211325, 0.788675]]
)


def cosine_distances(first, second):
    distances = np.empty((len(first), len(second)))
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            lengths = math.sqrt(sum(v * v for v in x)) * math.sqrt(sum(v * v for v in y))
            distances[i, j] = 1 - sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 1
    return distances


def self_similarity_loss(result, content):
    n = len(result)
    of_result, of_content = cosine_distances(result, result), cosine_distances(content, content)
    total = 0.0
    for j in range(n):
        result_sum = sum(of_result[i, j] for i in range(n))
        content_sum = sum(of_content[i, j] for i in range(n))
        for i in range(n):
            total += abs(of_result[i, j] / result_sum - of_content[i, j] / content_sum)
    return n * total / n**2


def relaxed_emd(result, style):
    return sum(min(row) for row in cosine_distances(result, style)) / len(result)


def moment_loss(result, style):
    channels = result.shape[1]
    means, covariances = [], []
    for samples in (result, style):
        n = len(samples)
        mean = [sum(samples[:, c]) / n for c in range(channels)]
        covariance = np.empty((channels, channels))
        for c in range(channels):
            for d in range(channels):
                products = [(row[c] - mean[c]) * (row[d] - mean[d]) for row in samples]
                covariance[c, d] = sum(products) / (n - 1)
        means.append(mean)
        covariances.append(covariance)
    of_means = sum(abs(a - b) for a, b in zip(*means, strict=True)) / channels
    return of_means + np.abs(covariances[0] - covariances[1]).sum() / channels**2


def colour_loss(result, style):
    total = 0.0
    for x in result[:, :3]:
        nearest = math.inf
        for s in style[:, :3]:
            difference = DECORRELATION @ (x - s)
            squared = min(max(sum(difference**2), 1e-5), 1e5)
            nearest = min(nearest, math.sqrt(squared / 3))
        total += nearest
    return total / len(result)


def rendering_loss(rendered, photo, weights):
    total = 0.0
    for i in range(len(rendered)):
        for channel in range(3):
            total += abs(rendered[i, channel] - photo[i, channel]) * weights[i]
    return total / (3 * len(rendered))


def gradient(loss, samples, step=1e-6):
    """Central differences of a scalar function of an array."""
    result = np.empty_like(samples)
    for index in np.ndindex(samples.shape):
        above, below = samples.copy(), samples.copy()
        above[index] += step
        below[index] -= step
        result[index] = (loss(above) - loss(below)) / (2 * step)
    return result
