#version 330 core
// The world's picture, enlarged. The texture is sampled linearly; the filter says where between two texels. Between two
// pictures of the world, what is drawn is on its way from the one before: blended, along the motion where that is known.

uniform sampler2D picture;
uniform sampler2D before;
uniform sampler2D motion;      // rg: how far, as a share of the picture, what is here moves from `before` to `picture`
uniform float share;           // 1: the picture itself; 0: the one before
uniform bool is_motion_known;
uniform vec2 picture_px;       // size of the texture
uniform vec2 screen_px;        // size it is drawn at
uniform int picture_filter;    // 0 sharp, 1 smooth, 2 nearest

in vec2 uv;
out vec4 colour;

vec3 enlarged(sampler2D source, vec2 at) {
    vec2 texel = at * picture_px - 0.5;
    vec2 base = floor(texel);
    vec2 along = texel - base;
    if (picture_filter == 0) {
        // Texels keep hard edges that are blended over one screen pixel: even at sizes that are no whole multiple.
        vec2 scale = max(screen_px / picture_px, vec2(1.0));
        along = clamp((along - 0.5) * scale + 0.5, 0.0, 1.0);
    } else if (picture_filter == 1) {
        // A fifth-degree step in place of the straight line: no creases at the texels' centres.
        along = along * along * along * (along * (along * 6.0 - 15.0) + 10.0);
    } else {
        along = step(0.5, along);
    }
    return texture(source, (base + along + 0.5) / picture_px).rgb;
}

void main() {
    if (share >= 1.0) {
        colour = vec4(enlarged(picture, uv), 1.0);
        return;
    }
    vec2 moved = is_motion_known ? texture(motion, uv).rg : vec2(0.0);
    vec3 old = enlarged(before, uv - moved * share);
    vec3 new = enlarged(picture, uv + moved * (1.0 - share));
    colour = vec4(mix(old, new, share), 1.0);
}
