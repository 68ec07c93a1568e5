#!/usr/bin/env python3
"""Fits the polynomials of functions.h (least squares on Chebyshev nodes, weighted for relative error).

    python3 fit_functions.py        prints the coefficients, lowest power first
"""
import math
import numpy as np


def nodes(a, b, n=4000):
    return 0.5 * (a + b) + 0.5 * (b - a) * np.cos(np.pi * (np.arange(n) + 0.5) / n)


def fit(name, f, a, b, degree, weight=None):
    x = nodes(a, b)
    y = np.array([f(v) for v in x])
    w = np.ones_like(x) if weight is None else np.array([weight(v) for v in x])
    t = (2 * x - (a + b)) / (b - a)
    basis = np.polynomial.chebyshev.chebvander(t, degree)
    c, *_ = np.linalg.lstsq(basis * w[:, None], y * w, rcond=None)
    p = np.polynomial.Polynomial(np.polynomial.chebyshev.cheb2poly(c))(
        np.polynomial.Polynomial([-(a + b) / (b - a), 2 / (b - a)]))
    error = np.max(np.abs((p(x) - y) * w))
    print(f"{name}: degree {degree} on [{a:.6g}, {b:.6g}], weighted error {error:.2e}")
    print("   ", ", ".join(f"{np.float32(v):.9g}f" for v in p.coef))


def main():
    ln2 = math.log(2.0)
    fit("exp(r) = 1 + r + r^2 p(r)", lambda r: (math.expm1(r) - r) / (r * r) if r else 0.5,
        -ln2 / 2, ln2 / 2, 4)
    fit("tanh(x) = x + x u p(u), u = x^2",
        lambda u: (math.tanh(math.sqrt(u)) / math.sqrt(u) - 1) / u, 1e-4, 0.4, 6)
    fit("erf(x) = x p(u), u = x^2", lambda u: math.erf(math.sqrt(u)) / math.sqrt(u), 1e-6, 1.0, 7)
    fit("log erfc(x)", lambda x: math.log(math.erfc(x)), 1.0, 4.0, 9, weight=math.erfc)
    fit("log(1 + f) = f - f^2/2 + f^3 p(f)",
        lambda f: (math.log1p(f) - f + f * f / 2) / f ** 3 if abs(f) > 1e-3 else 1 / 3 - f / 4 + f * f / 5,
        math.sqrt(0.5) - 1, math.sqrt(2.0) - 1, 8)


main()
