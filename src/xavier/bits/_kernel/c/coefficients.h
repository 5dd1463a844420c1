/* The coefficients of the stream, lowest power first: `_coefficients.py` in C, written by
 * tools/coefficients_header.py. They are part of the stream. */
#ifndef XAVIER_COEFFICIENTS_H
#define XAVIER_COEFFICIENTS_H

#define CENTRAL_LIMIT_32 0x1.ecp-1f
#define CENTRAL_LIMIT_64 0x1.dp-1
#define TAIL_CENTRE_32 0x1.3p+2f
#define TAIL_CENTRE_64 0x1.dp+1
#define FAR_TAIL_CENTRE_64 0x1.cp+2
#define FAR_TAIL_START_64 0x1.3p+2
static const float LOG_32[] = {
    0x1.555548p-2f,
    -0x1.000006p-2f,
    0x1.99a4b6p-3f,
    -0x1.555c52p-3f,
    0x1.233766p-3f,
    -0x1.fc214ap-4f,
    0x1.e6efdp-4f,
    -0x1.de4018p-4f,
    0x1.145db2p-4f,
};
static const float SIN_32[] = {
    0x1.921fb6p-1f,
    -0x1.4abbbap-4f,
    0x1.465e92p-9f,
    -0x1.2d9302p-15f,
};
static const float COS_32[] = {
    -0x1.3bd3ccp-2f,
    0x1.03c1eap-6f,
    -0x1.55cb98p-12f,
    0x1.db650ep-19f,
};
static const float CENTRAL_32[] = {
    0x1.12de5ep+1f,
    0x1.24450ap+5f,
    0x1.518468p+7f,
    0x1.a8109ep+7f,
    0x1.503f4ap+5f,
    -0x1.9cc30ap+0f,
};
static const float CENTRAL_32_OVER[] = {
    0x1p+0f,
    0x1.320d6cp+4f,
    0x1.a6f848p+6f,
    0x1.6736d8p+7f,
    0x1.12a864p+6f,
};
static const float TAIL_32[] = {
    -0x1.130238p-1f,
    -0x1.2001acp-3f,
    -0x1.0ed2f2p-7f,
    -0x1.ddf482p-16f,
};
static const float TAIL_32_OVER[] = {
    0x1p+0f,
    0x1.964d6p-2f,
    0x1.875ecap-5f,
    0x1.aab5cap-10f,
};
static const double LOG_64[] = {
    0x1.5555555555555p-1,
    0x1.9999999999a39p-2,
    0x1.249249247694dp-2,
    0x1.c71c7201b221ap-3,
    0x1.745cf8e2c6dc4p-3,
    0x1.3b1c3bee99508p-3,
    0x1.0fbdf33378065p-3,
    0x1.0c09c7fa7a556p-3,
};
static const double SIN_64[] = {
    0x1.921fb54442d18p-1,
    -0x1.4abbce625be41p-4,
    0x1.466bc677587p-9,
    -0x1.32d2cce2d5406p-15,
    0x1.50782fca4274cp-22,
    -0x1.e30063a867ef7p-30,
    0x1.e3eed8629c642p-38,
};
static const double COS_64[] = {
    -0x1.3bd3cc9be45dep-2,
    0x1.03c1f081b5acp-6,
    -0x1.55d3c7e3cb243p-12,
    0x1.e1f506868915bp-19,
    -0x1.a6d1eef4b7a63p-26,
    0x1.f9ce2493d343ep-34,
    -0x1.b2f3fd6f85b4dp-42,
};
static const double CENTRAL_64[] = {
    0x1.d96c9041859d1p+0,
    0x1.e53142e767fecp+4,
    0x1.8086eff34f9c4p+7,
    0x1.2a9e320c53efcp+9,
    0x1.dcc5a26d2b215p+9,
    0x1.793c3366df2dbp+9,
    0x1.06c456fe801a5p+8,
    0x1.ec738c662a27dp+4,
    0x1.127b4d950577fp-1,
};
static const double CENTRAL_64_OVER[] = {
    0x1p+0,
    0x1.1782d14e7b27p+4,
    0x1.decc5f70fd035p+6,
    0x1.99e90f3d2c8c3p+8,
    0x1.73454edd69bcap+9,
    0x1.5c51d0f26898ap+9,
    0x1.35f18b527c908p+8,
    0x1.afda926e92b4bp+5,
    0x1.2747e5f9a9531p+1,
};
static const double TAIL_64[] = {
    -0x1.45d8183954893p-1,
    -0x1.bc841c29eb532p-2,
    -0x1.9d9a12213cafcp-4,
    -0x1.28ce62461d63ap-7,
    -0x1.02ddbd587acfp-12,
    -0x1.9e8801ba3b674p-22,
};
static const double TAIL_64_OVER[] = {
    0x1p+0,
    0x1.b3e52cb8771fap-1,
    0x1.139bfa6baab95p-2,
    0x1.39b59615ccda8p-5,
    0x1.300c543c0e128p-9,
    0x1.685f2ffe6686dp-15,
};
static const double FAR_TAIL_64[] = {
    -0x1.a9fb0a572ef77p-2,
    -0x1.f9d53e8174765p-4,
    -0x1.8e81b326bc16ap-7,
    -0x1.d8b50cc9eddf1p-12,
    -0x1.4f83734b92dd9p-18,
    -0x1.8cd96a1143eb3p-29,
};
static const double FAR_TAIL_64_OVER[] = {
    0x1p+0,
    0x1.92e7df029a772p-2,
    0x1.cf26b2447e85cp-5,
    0x1.d5fdc785d982ep-9,
    0x1.8e70895ec81dep-14,
    0x1.9683f26434428p-21,
};

#endif
