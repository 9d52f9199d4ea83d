#version 330 core
// How far each place of the picture moves from one frame to the next: the shift under which a patch half-way back in
// the one before looks most like the patch half-way on in the new one. A little is charged for distance, so that bare
// walls stay where they are.

uniform sampler2D picture;
uniform sampler2D before;
uniform vec2 cell;             // size of one texel of the result, as a share of the picture

in vec2 uv;
out vec2 moved;

const int REACH_X = 10;        // a held turn moves a picture of 64 texels sideways by 7 of them in a tick
const int REACH_Y = 3;
const int PATCH_X = 6;         // more than half the reach: a thing is then seen where it was and where it is
const int PATCH_Y = 4;
const float PER_CELL = 0.01;   // of the range of colours, summed over the patch

void main() {
    float least = 1e9;
    moved = vec2(0.0);
    for (int y = -REACH_Y; y <= REACH_Y; y++) {
        for (int x = -REACH_X; x <= REACH_X; x++) {
            vec2 shift = vec2(x, y) * cell;
            float cost = PER_CELL * length(vec2(x, y));
            for (int j = -PATCH_Y; j <= PATCH_Y; j += 2) {
                for (int i = -PATCH_X; i <= PATCH_X; i += 2) {
                    vec2 at = uv + vec2(i, j) * cell;
                    vec3 apart = texture(picture, at + shift * 0.5).rgb - texture(before, at - shift * 0.5).rgb;
                    cost += dot(abs(apart), vec3(1.0 / 3.0));
                }
            }
            if (cost < least) {
                least = cost;
                moved = shift;
            }
        }
    }
}
