// What a job of img2img starts from: the image, and the mask over it or beside it.
import { MASK, maskFile, maskKept, painting, source } from "../inpaint";
import { mode, MODES, setMode, type Mode } from "../start";
import { ImageBox } from "./ImageBox";
import { MaskEditor } from "./MaskEditor";
import { Segments } from "./Segments";

const HINT = "Drop it here, choose it, or paste it with Ctrl+V.";

export function Source() {
  const image = source.image.value;
  const upload = mode.value === "upload";
  return (
    <div class="source" data-mode={mode.value}>
      <Segments label="Mode" id="img2img-mode" choices={MODES} value={mode.value} give={(id) => setMode(id as Mode)} />
      <div class="source-boxes">
        <ImageBox slot={source} label="Image" hint={HINT} pastes={!upload || !image}>
          {mode.value === "inpaint" && image && painting.value && <MaskEditor url={image.url} painting={painting.value} kept={maskKept.value} path={MASK} />}
        </ImageBox>
        {upload && <ImageBox slot={maskFile} label="Mask" hint={`White where the image may change. ${HINT}`} pastes={image !== null} />}
      </div>
    </div>
  );
}
