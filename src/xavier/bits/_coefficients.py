"""The coefficients of the stream, lowest power first; made by `tools/fit_polynomials.py`.

They are hexadecimal so that no decimal conversion can change them. They are part of the
stream: another table is another version of the stream.
"""

from __future__ import annotations

CENTRAL_LIMIT_32 = 0.9609375  # |2p - 1| up to here is central; a cut at two needs no tail
CENTRAL_LIMIT_64 = 0.90625
TAIL_CENTRE_32 = 4.75
TAIL_CENTRE_64 = 3.625
FAR_TAIL_CENTRE_64 = 7.0
FAR_TAIL_START_64 = 4.75

# LOG_32: weighted error 2**-30.3
LOG_32 = (
    float.fromhex("0x1.5555480000000p-2"),
    float.fromhex("-0x1.0000060000000p-2"),
    float.fromhex("0x1.99a4b60000000p-3"),
    float.fromhex("-0x1.555c520000000p-3"),
    float.fromhex("0x1.2337660000000p-3"),
    float.fromhex("-0x1.fc214a0000000p-4"),
    float.fromhex("0x1.e6efd00000000p-4"),
    float.fromhex("-0x1.de40180000000p-4"),
    float.fromhex("0x1.145db20000000p-4"),
)
# SIN_32: weighted error 2**-28.2
SIN_32 = (
    float.fromhex("0x1.921fb60000000p-1"),
    float.fromhex("-0x1.4abbba0000000p-4"),
    float.fromhex("0x1.465e920000000p-9"),
    float.fromhex("-0x1.2d93020000000p-15"),
)
# COS_32: weighted error 2**-32.3
COS_32 = (
    float.fromhex("-0x1.3bd3cc0000000p-2"),
    float.fromhex("0x1.03c1ea0000000p-6"),
    float.fromhex("-0x1.55cb980000000p-12"),
    float.fromhex("0x1.db650e0000000p-19"),
)
# CENTRAL_32: weighted error 2**-25.6
CENTRAL_32 = (
    float.fromhex("0x1.12de5e0000000p+1"),
    float.fromhex("0x1.24450a0000000p+5"),
    float.fromhex("0x1.5184680000000p+7"),
    float.fromhex("0x1.a8109e0000000p+7"),
    float.fromhex("0x1.503f4a0000000p+5"),
    float.fromhex("-0x1.9cc30a0000000p+0"),
)
CENTRAL_32_OVER = (
    float.fromhex("0x1.0000000000000p+0"),
    float.fromhex("0x1.320d6c0000000p+4"),
    float.fromhex("0x1.a6f8480000000p+6"),
    float.fromhex("0x1.6736d80000000p+7"),
    float.fromhex("0x1.12a8640000000p+6"),
)
# TAIL_32: weighted error 2**-30.4
TAIL_32 = (
    float.fromhex("-0x1.1302380000000p-1"),
    float.fromhex("-0x1.2001ac0000000p-3"),
    float.fromhex("-0x1.0ed2f20000000p-7"),
    float.fromhex("-0x1.ddf4820000000p-16"),
)
TAIL_32_OVER = (
    float.fromhex("0x1.0000000000000p+0"),
    float.fromhex("0x1.964d600000000p-2"),
    float.fromhex("0x1.875eca0000000p-5"),
    float.fromhex("0x1.aab5ca0000000p-10"),
)
# LOG_64: weighted error 2**-58.8
LOG_64 = (
    float.fromhex("0x1.5555555555555p-1"),
    float.fromhex("0x1.9999999999a39p-2"),
    float.fromhex("0x1.249249247694dp-2"),
    float.fromhex("0x1.c71c7201b221ap-3"),
    float.fromhex("0x1.745cf8e2c6dc4p-3"),
    float.fromhex("0x1.3b1c3bee99508p-3"),
    float.fromhex("0x1.0fbdf33378065p-3"),
    float.fromhex("0x1.0c09c7fa7a556p-3"),
)
# SIN_64: weighted error 2**-58.1
SIN_64 = (
    float.fromhex("0x1.921fb54442d18p-1"),
    float.fromhex("-0x1.4abbce625be41p-4"),
    float.fromhex("0x1.466bc67758700p-9"),
    float.fromhex("-0x1.32d2cce2d5406p-15"),
    float.fromhex("0x1.50782fca4274cp-22"),
    float.fromhex("-0x1.e30063a867ef7p-30"),
    float.fromhex("0x1.e3eed8629c642p-38"),
)
# COS_64: weighted error 2**-62.8
COS_64 = (
    float.fromhex("-0x1.3bd3cc9be45dep-2"),
    float.fromhex("0x1.03c1f081b5ac0p-6"),
    float.fromhex("-0x1.55d3c7e3cb243p-12"),
    float.fromhex("0x1.e1f506868915bp-19"),
    float.fromhex("-0x1.a6d1eef4b7a63p-26"),
    float.fromhex("0x1.f9ce2493d343ep-34"),
    float.fromhex("-0x1.b2f3fd6f85b4dp-42"),
)
# CENTRAL_64: weighted error 2**-54.1
CENTRAL_64 = (
    float.fromhex("0x1.d96c9041859d1p+0"),
    float.fromhex("0x1.e53142e767fecp+4"),
    float.fromhex("0x1.8086eff34f9c4p+7"),
    float.fromhex("0x1.2a9e320c53efcp+9"),
    float.fromhex("0x1.dcc5a26d2b215p+9"),
    float.fromhex("0x1.793c3366df2dbp+9"),
    float.fromhex("0x1.06c456fe801a5p+8"),
    float.fromhex("0x1.ec738c662a27dp+4"),
    float.fromhex("0x1.127b4d950577fp-1"),
)
CENTRAL_64_OVER = (
    float.fromhex("0x1.0000000000000p+0"),
    float.fromhex("0x1.1782d14e7b270p+4"),
    float.fromhex("0x1.decc5f70fd035p+6"),
    float.fromhex("0x1.99e90f3d2c8c3p+8"),
    float.fromhex("0x1.73454edd69bcap+9"),
    float.fromhex("0x1.5c51d0f26898ap+9"),
    float.fromhex("0x1.35f18b527c908p+8"),
    float.fromhex("0x1.afda926e92b4bp+5"),
    float.fromhex("0x1.2747e5f9a9531p+1"),
)
# TAIL_64: weighted error 2**-52.4
TAIL_64 = (
    float.fromhex("-0x1.45d8183954893p-1"),
    float.fromhex("-0x1.bc841c29eb532p-2"),
    float.fromhex("-0x1.9d9a12213cafcp-4"),
    float.fromhex("-0x1.28ce62461d63ap-7"),
    float.fromhex("-0x1.02ddbd587acf0p-12"),
    float.fromhex("-0x1.9e8801ba3b674p-22"),
)
TAIL_64_OVER = (
    float.fromhex("0x1.0000000000000p+0"),
    float.fromhex("0x1.b3e52cb8771fap-1"),
    float.fromhex("0x1.139bfa6baab95p-2"),
    float.fromhex("0x1.39b59615ccda8p-5"),
    float.fromhex("0x1.300c543c0e128p-9"),
    float.fromhex("0x1.685f2ffe6686dp-15"),
)
# FAR_TAIL_64: weighted error 2**-56.8
FAR_TAIL_64 = (
    float.fromhex("-0x1.a9fb0a572ef77p-2"),
    float.fromhex("-0x1.f9d53e8174765p-4"),
    float.fromhex("-0x1.8e81b326bc16ap-7"),
    float.fromhex("-0x1.d8b50cc9eddf1p-12"),
    float.fromhex("-0x1.4f83734b92dd9p-18"),
    float.fromhex("-0x1.8cd96a1143eb3p-29"),
)
FAR_TAIL_64_OVER = (
    float.fromhex("0x1.0000000000000p+0"),
    float.fromhex("0x1.92e7df029a772p-2"),
    float.fromhex("0x1.cf26b2447e85cp-5"),
    float.fromhex("0x1.d5fdc785d982ep-9"),
    float.fromhex("0x1.8e70895ec81dep-14"),
    float.fromhex("0x1.9683f26434428p-21"),
)
