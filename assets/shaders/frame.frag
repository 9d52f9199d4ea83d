#version 330 core
// The world's picture, enlarged. The texture is sampled linearly; the filter says where between two texels.

uniform sampler2D picture;
uniform vec2 picture_px;  // size of the texture
uniform vec2 screen_px;   // size it is drawn at
uniform int picture_filter;  // 0 sharp, 1 smooth, 2 nearest

in vec2 uv;
out vec4 colour;

void main() {
    vec2 texel = uv * picture_px - 0.5;
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
    colour = vec4(texture(picture, (base + along + 0.5) / picture_px).rgb, 1.0);
}
