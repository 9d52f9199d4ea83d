#version 330 core
// The frame, enlarged. Textures are sampled linearly; the filter chooses the sample point between two texels. With
// fraction < 1, interpolates from the previous frame: a blend, along the motion field where there is one.

uniform sampler2D frame;
uniform sampler2D previous;
uniform sampler2D motion;      // rg: displacement from `previous` to `frame`, as a fraction of the frame
uniform float fraction;        // 1: `frame`; 0: `previous`
uniform bool has_motion;
uniform vec2 frame_px;         // size of the texture
uniform vec2 screen_px;        // size it is drawn at
uniform int scaling_filter;    // 0 sharp, 1 smooth, 2 nearest

in vec2 uv;
out vec4 color;

vec3 enlarged(sampler2D source, vec2 at) {
    vec2 texel = at * frame_px - 0.5;
    vec2 base = floor(texel);
    vec2 along = texel - base;
    if (scaling_filter == 0) {
        // Hard texel edges, antialiased over one screen pixel: even at scales that are not integers.
        vec2 scale = max(screen_px / frame_px, vec2(1.0));
        along = clamp((along - 0.5) * scale + 0.5, 0.0, 1.0);
    } else if (scaling_filter == 1) {
        // A quintic step instead of linear interpolation: no creases at the texel centers.
        along = along * along * along * (along * (along * 6.0 - 15.0) + 10.0);
    } else {
        along = step(0.5, along);
    }
    return texture(source, (base + along + 0.5) / frame_px).rgb;
}

void main() {
    if (fraction >= 1.0) {
        color = vec4(enlarged(frame, uv), 1.0);
        return;
    }
    vec2 moved = has_motion ? texture(motion, uv).rg : vec2(0.0);
    vec3 old = enlarged(previous, uv - moved * fraction);
    vec3 new = enlarged(frame, uv + moved * (1.0 - fraction));
    color = vec4(mix(old, new, fraction), 1.0);
}
